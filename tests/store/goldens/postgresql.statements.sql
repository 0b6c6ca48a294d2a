-- meta
INSERT INTO meta (name, value) VALUES (%(name)s, %(value)s);
INSERT INTO meta (name, value) VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO UPDATE SET value=excluded.value;

-- owners
INSERT INTO owners (tenant_id, user_id, agent_id, revision) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s);
INSERT INTO owners (tenant_id, user_id, agent_id, revision) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s) ON CONFLICT (tenant_id, user_id, agent_id) DO UPDATE SET revision=excluded.revision;
SELECT revision FROM owners WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY revision LIMIT %(limit)s;
UPDATE owners SET revision=%(new_revision)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM owners WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- changes
INSERT INTO changes (tenant_id, user_id, agent_id, revision, kind, seq, id, op, session_id, run_id, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s, %(kind)s, %(seq)s, %(id)s, %(op)s, %(session_id)s, %(run_id)s, %(at)s);
INSERT INTO changes (tenant_id, user_id, agent_id, revision, kind, seq, id, op, session_id, run_id, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s, %(kind)s, %(seq)s, %(id)s, %(op)s, %(session_id)s, %(run_id)s, %(at)s) ON CONFLICT (tenant_id, user_id, agent_id, revision) DO UPDATE SET kind=excluded.kind, seq=excluded.seq, id=excluded.id, op=excluded.op, session_id=excluded.session_id, run_id=excluded.run_id, at=excluded.at;
SELECT revision, kind FROM changes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY revision LIMIT %(limit)s;
UPDATE changes SET revision=%(new_revision)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM changes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- events
INSERT INTO events (tenant_id, user_id, agent_id, session_id, run_id, seq, event_id, kind, ts, line, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(event_id)s, %(kind)s, %(ts)s, %(line)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO events (tenant_id, user_id, agent_id, session_id, run_id, seq, event_id, kind, ts, line, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(event_id)s, %(kind)s, %(ts)s, %(line)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET session_id=excluded.session_id, run_id=excluded.run_id, event_id=excluded.event_id, kind=excluded.kind, ts=excluded.ts, line=excluded.line, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, event_id FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE events SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, event_id FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE events SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR 1=1);
DELETE FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (1=1);
SELECT seq, event_id FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE events SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR 1=1);
DELETE FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (1=1);
SELECT seq, event_id FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM events WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE events SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- facts
INSERT INTO facts (tenant_id, user_id, agent_id, seq, fact_id, version, fact_key, status, valid_from, valid_to, replaces, replaced_by, past, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(fact_id)s, %(version)s, %(fact_key)s, %(status)s, %(valid_from)s, %(valid_to)s, %(replaces)s, %(replaced_by)s, %(past)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO facts (tenant_id, user_id, agent_id, seq, fact_id, version, fact_key, status, valid_from, valid_to, replaces, replaced_by, past, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(fact_id)s, %(version)s, %(fact_key)s, %(status)s, %(valid_from)s, %(valid_to)s, %(replaces)s, %(replaced_by)s, %(past)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET fact_id=excluded.fact_id, version=excluded.version, fact_key=excluded.fact_key, status=excluded.status, valid_from=excluded.valid_from, valid_to=excluded.valid_to, replaces=excluded.replaces, replaced_by=excluded.replaced_by, past=excluded.past, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, fact_id FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE facts SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, fact_id FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE facts SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- episodes
INSERT INTO episodes (tenant_id, user_id, agent_id, seq, episode_id, starts, ends, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(episode_id)s, %(starts)s, %(ends)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO episodes (tenant_id, user_id, agent_id, seq, episode_id, starts, ends, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(episode_id)s, %(starts)s, %(ends)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET episode_id=excluded.episode_id, starts=excluded.starts, ends=excluded.ends, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, episode_id FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE episodes SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, episode_id FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE episodes SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- procedures
INSERT INTO procedures (tenant_id, user_id, agent_id, seq, procedure_id, task_type, priority, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(procedure_id)s, %(task_type)s, %(priority)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO procedures (tenant_id, user_id, agent_id, seq, procedure_id, task_type, priority, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(procedure_id)s, %(task_type)s, %(priority)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET procedure_id=excluded.procedure_id, task_type=excluded.task_type, priority=excluded.priority, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, procedure_id FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE procedures SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, procedure_id FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE procedures SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- insights
INSERT INTO insights (tenant_id, user_id, agent_id, session_id, run_id, seq, id, validation_state, expires, ended, digest, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(id)s, %(validation_state)s, %(expires)s, %(ended)s, %(digest)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO insights (tenant_id, user_id, agent_id, session_id, run_id, seq, id, validation_state, expires, ended, digest, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(id)s, %(validation_state)s, %(expires)s, %(ended)s, %(digest)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET session_id=excluded.session_id, run_id=excluded.run_id, id=excluded.id, validation_state=excluded.validation_state, expires=excluded.expires, ended=excluded.ended, digest=excluded.digest, body=excluded.body, tokens=excluded.tokens, pinned=excluded.pinned, created_at=excluded.created_at, updated_at=excluded.updated_at, recalled_at=excluded.recalled_at, recall_count=excluded.recall_count;
SELECT seq, id FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE insights SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, id FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE insights SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR 1=1);
DELETE FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (1=1);
SELECT seq, id FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE insights SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR 1=1);
DELETE FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (1=1);
SELECT seq, id FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM insights WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE insights SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- working_states
INSERT INTO working_states (tenant_id, user_id, agent_id, session_id, run_id, version, body, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(version)s, %(body)s, %(updated_at)s);
INSERT INTO working_states (tenant_id, user_id, agent_id, session_id, run_id, version, body, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(version)s, %(body)s, %(updated_at)s) ON CONFLICT (tenant_id, user_id, agent_id, session_id, run_id) DO UPDATE SET version=excluded.version, body=excluded.body, updated_at=excluded.updated_at;
SELECT version, body FROM working_states WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY version LIMIT %(limit)s;
UPDATE working_states SET version=%(new_version)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM working_states WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT version, body FROM working_states WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY version LIMIT %(limit)s;
UPDATE working_states SET version=%(new_version)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR 1=1);
DELETE FROM working_states WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (1=1);
SELECT version, body FROM working_states WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY version LIMIT %(limit)s;
UPDATE working_states SET version=%(new_version)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR 1=1);
DELETE FROM working_states WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (1=1);

-- short_terms
INSERT INTO short_terms (tenant_id, user_id, agent_id, session_id, body, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(body)s, %(updated_at)s);
INSERT INTO short_terms (tenant_id, user_id, agent_id, session_id, body, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(body)s, %(updated_at)s) ON CONFLICT (tenant_id, user_id, agent_id, session_id) DO UPDATE SET body=excluded.body, updated_at=excluded.updated_at;
SELECT body, updated_at FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY body LIMIT %(limit)s;
UPDATE short_terms SET body=%(new_body)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT body, updated_at FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY body LIMIT %(limit)s;
UPDATE short_terms SET body=%(new_body)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR 1=1);
DELETE FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (1=1);

-- builds
INSERT INTO builds (tenant_id, user_id, agent_id, session_id, run_id, build_id, packet, explanation, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(build_id)s, %(packet)s, %(explanation)s, %(at)s);
INSERT INTO builds (tenant_id, user_id, agent_id, session_id, run_id, build_id, packet, explanation, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(build_id)s, %(packet)s, %(explanation)s, %(at)s) ON CONFLICT (tenant_id, user_id, agent_id, session_id, run_id, build_id) DO UPDATE SET packet=excluded.packet, explanation=excluded.explanation, at=excluded.at;
SELECT build_id, packet FROM builds WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY build_id LIMIT %(limit)s;
UPDATE builds SET build_id=%(new_build_id)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM builds WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT build_id, packet FROM builds WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY build_id LIMIT %(limit)s;
UPDATE builds SET build_id=%(new_build_id)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR 1=1);
DELETE FROM builds WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (1=1);
SELECT build_id, packet FROM builds WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY build_id LIMIT %(limit)s;
UPDATE builds SET build_id=%(new_build_id)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (a=%(a)s OR 1=1);
DELETE FROM builds WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND run_id=%(run_id)s AND (1=1);

-- threads
INSERT INTO threads (tenant_id, user_id, agent_id, space, thread_id, ns, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(thread_id)s, %(ns)s, %(updated_at)s);
INSERT INTO threads (tenant_id, user_id, agent_id, space, thread_id, ns, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(thread_id)s, %(ns)s, %(updated_at)s) ON CONFLICT (tenant_id, user_id, agent_id, space) DO UPDATE SET thread_id=excluded.thread_id, ns=excluded.ns, updated_at=excluded.updated_at;
SELECT space, thread_id FROM threads WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE threads SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM threads WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- checkpoints
INSERT INTO checkpoints (tenant_id, user_id, agent_id, space, checkpoint_id, parent_id, run_id, channels, metadata, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(parent_id)s, %(run_id)s, %(channels)s, %(metadata)s, %(type)s, %(data)s, %(pieces)s);
INSERT INTO checkpoints (tenant_id, user_id, agent_id, space, checkpoint_id, parent_id, run_id, channels, metadata, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(parent_id)s, %(run_id)s, %(channels)s, %(metadata)s, %(type)s, %(data)s, %(pieces)s) ON CONFLICT (tenant_id, user_id, agent_id, space, checkpoint_id) DO UPDATE SET parent_id=excluded.parent_id, run_id=excluded.run_id, channels=excluded.channels, metadata=excluded.metadata, type=excluded.type, data=excluded.data, pieces=excluded.pieces;
SELECT space, checkpoint_id FROM checkpoints WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE checkpoints SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM checkpoints WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- channel_blobs
INSERT INTO channel_blobs (tenant_id, user_id, agent_id, space, blob_id, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(blob_id)s, %(type)s, %(data)s, %(pieces)s);
INSERT INTO channel_blobs (tenant_id, user_id, agent_id, space, blob_id, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(blob_id)s, %(type)s, %(data)s, %(pieces)s) ON CONFLICT (tenant_id, user_id, agent_id, space, blob_id) DO UPDATE SET type=excluded.type, data=excluded.data, pieces=excluded.pieces;
SELECT space, blob_id FROM channel_blobs WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE channel_blobs SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM channel_blobs WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- checkpoint_writes
INSERT INTO checkpoint_writes (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx, task_path, channel, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(task_id)s, %(idx)s, %(task_path)s, %(channel)s, %(type)s, %(data)s, %(pieces)s);
INSERT INTO checkpoint_writes (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx, task_path, channel, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(task_id)s, %(idx)s, %(task_path)s, %(channel)s, %(type)s, %(data)s, %(pieces)s) ON CONFLICT (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx) DO UPDATE SET task_path=excluded.task_path, channel=excluded.channel, type=excluded.type, data=excluded.data, pieces=excluded.pieces;
SELECT space, checkpoint_id FROM checkpoint_writes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE checkpoint_writes SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM checkpoint_writes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- checkpoint_pieces
INSERT INTO checkpoint_pieces (tenant_id, user_id, agent_id, space, digest, piece, data, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(digest)s, %(piece)s, %(data)s, %(at)s);
INSERT INTO checkpoint_pieces (tenant_id, user_id, agent_id, space, digest, piece, data, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(digest)s, %(piece)s, %(data)s, %(at)s) ON CONFLICT (tenant_id, user_id, agent_id, space, digest, piece) DO UPDATE SET data=excluded.data, at=excluded.at;
SELECT space, digest FROM checkpoint_pieces WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE checkpoint_pieces SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM checkpoint_pieces WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- item_places
INSERT INTO item_places (tenant_id, user_id, agent_id, place, path) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(place)s, %(path)s);
INSERT INTO item_places (tenant_id, user_id, agent_id, place, path) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(place)s, %(path)s) ON CONFLICT (tenant_id, user_id, agent_id, place) DO UPDATE SET path=excluded.path;
SELECT place, path FROM item_places WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY place LIMIT %(limit)s;
UPDATE item_places SET place=%(new_place)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM item_places WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- items
INSERT INTO items (tenant_id, user_id, agent_id, seq, place, item, item_key, value, words, created_at, updated_at, ttl_ms, expires_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(place)s, %(item)s, %(item_key)s, %(value)s, %(words)s, %(created_at)s, %(updated_at)s, %(ttl_ms)s, %(expires_at)s);
INSERT INTO items (tenant_id, user_id, agent_id, seq, place, item, item_key, value, words, created_at, updated_at, ttl_ms, expires_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(place)s, %(item)s, %(item_key)s, %(value)s, %(words)s, %(created_at)s, %(updated_at)s, %(ttl_ms)s, %(expires_at)s) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET place=excluded.place, item=excluded.item, item_key=excluded.item_key, value=excluded.value, words=excluded.words, created_at=excluded.created_at, updated_at=excluded.updated_at, ttl_ms=excluded.ttl_ms, expires_at=excluded.expires_at;
SELECT seq, place FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE items SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, place FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- vectors
INSERT INTO vectors (tenant_id, user_id, agent_id, seq, model, digest, vector) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(model)s, %(digest)s, %(vector)s);
INSERT INTO vectors (tenant_id, user_id, agent_id, seq, model, digest, vector) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(model)s, %(digest)s, %(vector)s) ON CONFLICT (tenant_id, user_id, agent_id, seq) DO UPDATE SET model=excluded.model, digest=excluded.digest, vector=excluded.vector;
SELECT seq, model FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE vectors SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, model FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- all owners
SELECT tenant_id, user_id, agent_id FROM owners WHERE (tenant_id > %(tenant_id)s) OR (tenant_id=%(tenant_id)s AND user_id > %(user_id)s) OR (tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id > %(agent_id)s) ORDER BY tenant_id, user_id, agent_id LIMIT %(limit)s;
