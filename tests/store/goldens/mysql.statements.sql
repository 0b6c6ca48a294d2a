-- meta
INSERT INTO meta (name, value) VALUES (%(name)s, %(value)s);
INSERT INTO meta (name, value) VALUES (%(name)s, %(value)s) AS new ON DUPLICATE KEY UPDATE value=new.value;

-- owners
INSERT INTO owners (tenant_id, user_id, agent_id, revision) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s);
INSERT INTO owners (tenant_id, user_id, agent_id, revision) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s) AS new ON DUPLICATE KEY UPDATE revision=new.revision;
SELECT revision FROM owners WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY revision LIMIT %(limit)s;
UPDATE owners SET revision=%(new_revision)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM owners WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- changes
INSERT INTO changes (tenant_id, user_id, agent_id, revision, kind, seq, id, op, session_id, run_id, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s, %(kind)s, %(seq)s, %(id)s, %(op)s, %(session_id)s, %(run_id)s, %(at)s);
INSERT INTO changes (tenant_id, user_id, agent_id, revision, kind, seq, id, op, session_id, run_id, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(revision)s, %(kind)s, %(seq)s, %(id)s, %(op)s, %(session_id)s, %(run_id)s, %(at)s) AS new ON DUPLICATE KEY UPDATE kind=new.kind, seq=new.seq, id=new.id, op=new.op, session_id=new.session_id, run_id=new.run_id, at=new.at;
SELECT revision, kind FROM changes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY revision LIMIT %(limit)s;
UPDATE changes SET revision=%(new_revision)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM changes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- events
INSERT INTO events (tenant_id, user_id, agent_id, session_id, run_id, seq, event_id, kind, ts, line, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(event_id)s, %(kind)s, %(ts)s, %(line)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO events (tenant_id, user_id, agent_id, session_id, run_id, seq, event_id, kind, ts, line, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(event_id)s, %(kind)s, %(ts)s, %(line)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) AS new ON DUPLICATE KEY UPDATE session_id=new.session_id, run_id=new.run_id, event_id=new.event_id, kind=new.kind, ts=new.ts, line=new.line, body=new.body, tokens=new.tokens, pinned=new.pinned, created_at=new.created_at, updated_at=new.updated_at, recalled_at=new.recalled_at, recall_count=new.recall_count;
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
INSERT INTO facts (tenant_id, user_id, agent_id, seq, fact_id, version, fact_key, status, valid_from, valid_to, replaces, replaced_by, past, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(fact_id)s, %(version)s, %(fact_key)s, %(status)s, %(valid_from)s, %(valid_to)s, %(replaces)s, %(replaced_by)s, %(past)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) AS new ON DUPLICATE KEY UPDATE fact_id=new.fact_id, version=new.version, fact_key=new.fact_key, status=new.status, valid_from=new.valid_from, valid_to=new.valid_to, replaces=new.replaces, replaced_by=new.replaced_by, past=new.past, body=new.body, tokens=new.tokens, pinned=new.pinned, created_at=new.created_at, updated_at=new.updated_at, recalled_at=new.recalled_at, recall_count=new.recall_count;
SELECT seq, fact_id FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE facts SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, fact_id FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM facts WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE facts SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- episodes
INSERT INTO episodes (tenant_id, user_id, agent_id, seq, episode_id, starts, ends, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(episode_id)s, %(starts)s, %(ends)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO episodes (tenant_id, user_id, agent_id, seq, episode_id, starts, ends, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(episode_id)s, %(starts)s, %(ends)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) AS new ON DUPLICATE KEY UPDATE episode_id=new.episode_id, starts=new.starts, ends=new.ends, body=new.body, tokens=new.tokens, pinned=new.pinned, created_at=new.created_at, updated_at=new.updated_at, recalled_at=new.recalled_at, recall_count=new.recall_count;
SELECT seq, episode_id FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE episodes SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, episode_id FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM episodes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE episodes SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- procedures
INSERT INTO procedures (tenant_id, user_id, agent_id, seq, procedure_id, task_type, priority, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(procedure_id)s, %(task_type)s, %(priority)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO procedures (tenant_id, user_id, agent_id, seq, procedure_id, task_type, priority, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(procedure_id)s, %(task_type)s, %(priority)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) AS new ON DUPLICATE KEY UPDATE procedure_id=new.procedure_id, task_type=new.task_type, priority=new.priority, body=new.body, tokens=new.tokens, pinned=new.pinned, created_at=new.created_at, updated_at=new.updated_at, recalled_at=new.recalled_at, recall_count=new.recall_count;
SELECT seq, procedure_id FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE procedures SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, procedure_id FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM procedures WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
UPDATE procedures SET recalled_at=%(now)s, recall_count=recall_count+1 WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- insights
INSERT INTO insights (tenant_id, user_id, agent_id, session_id, run_id, seq, id, validation_state, expires, ended, digest, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(id)s, %(validation_state)s, %(expires)s, %(ended)s, %(digest)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s);
INSERT INTO insights (tenant_id, user_id, agent_id, session_id, run_id, seq, id, validation_state, expires, ended, digest, body, tokens, pinned, created_at, updated_at, recalled_at, recall_count) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(seq)s, %(id)s, %(validation_state)s, %(expires)s, %(ended)s, %(digest)s, %(body)s, %(tokens)s, %(pinned)s, %(created_at)s, %(updated_at)s, %(recalled_at)s, %(recall_count)s) AS new ON DUPLICATE KEY UPDATE session_id=new.session_id, run_id=new.run_id, id=new.id, validation_state=new.validation_state, expires=new.expires, ended=new.ended, digest=new.digest, body=new.body, tokens=new.tokens, pinned=new.pinned, created_at=new.created_at, updated_at=new.updated_at, recalled_at=new.recalled_at, recall_count=new.recall_count;
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
INSERT INTO working_states (tenant_id, user_id, agent_id, session_id, run_id, version, body, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(version)s, %(body)s, %(updated_at)s) AS new ON DUPLICATE KEY UPDATE version=new.version, body=new.body, updated_at=new.updated_at;
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
INSERT INTO short_terms (tenant_id, user_id, agent_id, session_id, body, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(body)s, %(updated_at)s) AS new ON DUPLICATE KEY UPDATE body=new.body, updated_at=new.updated_at;
SELECT body, updated_at FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY body LIMIT %(limit)s;
UPDATE short_terms SET body=%(new_body)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT body, updated_at FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY body LIMIT %(limit)s;
UPDATE short_terms SET body=%(new_body)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (a=%(a)s OR 1=1);
DELETE FROM short_terms WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND session_id=%(session_id)s AND (1=1);

-- builds
INSERT INTO builds (tenant_id, user_id, agent_id, session_id, run_id, build_id, packet, explanation, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(build_id)s, %(packet)s, %(explanation)s, %(at)s);
INSERT INTO builds (tenant_id, user_id, agent_id, session_id, run_id, build_id, packet, explanation, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(session_id)s, %(run_id)s, %(build_id)s, %(packet)s, %(explanation)s, %(at)s) AS new ON DUPLICATE KEY UPDATE packet=new.packet, explanation=new.explanation, at=new.at;
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
INSERT INTO threads (tenant_id, user_id, agent_id, space, thread_id, ns, updated_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(thread_id)s, %(ns)s, %(updated_at)s) AS new ON DUPLICATE KEY UPDATE thread_id=new.thread_id, ns=new.ns, updated_at=new.updated_at;
SELECT space, thread_id FROM threads WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE threads SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM threads WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- checkpoints
INSERT INTO checkpoints (tenant_id, user_id, agent_id, space, checkpoint_id, parent_id, run_id, channels, metadata, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(parent_id)s, %(run_id)s, %(channels)s, %(metadata)s, %(type)s, %(data)s, %(pieces)s);
INSERT INTO checkpoints (tenant_id, user_id, agent_id, space, checkpoint_id, parent_id, run_id, channels, metadata, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(parent_id)s, %(run_id)s, %(channels)s, %(metadata)s, %(type)s, %(data)s, %(pieces)s) AS new ON DUPLICATE KEY UPDATE parent_id=new.parent_id, run_id=new.run_id, channels=new.channels, metadata=new.metadata, type=new.type, data=new.data, pieces=new.pieces;
SELECT space, checkpoint_id FROM checkpoints WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE checkpoints SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM checkpoints WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- channel_blobs
INSERT INTO channel_blobs (tenant_id, user_id, agent_id, space, blob_id, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(blob_id)s, %(type)s, %(data)s, %(pieces)s);
INSERT INTO channel_blobs (tenant_id, user_id, agent_id, space, blob_id, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(blob_id)s, %(type)s, %(data)s, %(pieces)s) AS new ON DUPLICATE KEY UPDATE type=new.type, data=new.data, pieces=new.pieces;
SELECT space, blob_id FROM channel_blobs WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE channel_blobs SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM channel_blobs WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- checkpoint_writes
INSERT INTO checkpoint_writes (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx, task_path, channel, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(task_id)s, %(idx)s, %(task_path)s, %(channel)s, %(type)s, %(data)s, %(pieces)s);
INSERT INTO checkpoint_writes (tenant_id, user_id, agent_id, space, checkpoint_id, task_id, idx, task_path, channel, type, data, pieces) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(checkpoint_id)s, %(task_id)s, %(idx)s, %(task_path)s, %(channel)s, %(type)s, %(data)s, %(pieces)s) AS new ON DUPLICATE KEY UPDATE task_path=new.task_path, channel=new.channel, type=new.type, data=new.data, pieces=new.pieces;
SELECT space, checkpoint_id FROM checkpoint_writes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE checkpoint_writes SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM checkpoint_writes WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- checkpoint_pieces
INSERT INTO checkpoint_pieces (tenant_id, user_id, agent_id, space, digest, piece, data, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(digest)s, %(piece)s, %(data)s, %(at)s);
INSERT INTO checkpoint_pieces (tenant_id, user_id, agent_id, space, digest, piece, data, at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(space)s, %(digest)s, %(piece)s, %(data)s, %(at)s) AS new ON DUPLICATE KEY UPDATE data=new.data, at=new.at;
SELECT space, digest FROM checkpoint_pieces WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY space LIMIT %(limit)s;
UPDATE checkpoint_pieces SET space=%(new_space)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM checkpoint_pieces WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- item_places
INSERT INTO item_places (tenant_id, user_id, agent_id, place, path) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(place)s, %(path)s);
INSERT INTO item_places (tenant_id, user_id, agent_id, place, path) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(place)s, %(path)s) AS new ON DUPLICATE KEY UPDATE path=new.path;
SELECT place, path FROM item_places WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY place LIMIT %(limit)s;
UPDATE item_places SET place=%(new_place)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM item_places WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);

-- items
INSERT INTO items (tenant_id, user_id, agent_id, seq, place, item, item_key, value, words, created_at, updated_at, ttl_ms, expires_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(place)s, %(item)s, %(item_key)s, %(value)s, %(words)s, %(created_at)s, %(updated_at)s, %(ttl_ms)s, %(expires_at)s);
INSERT INTO items (tenant_id, user_id, agent_id, seq, place, item, item_key, value, words, created_at, updated_at, ttl_ms, expires_at) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(place)s, %(item)s, %(item_key)s, %(value)s, %(words)s, %(created_at)s, %(updated_at)s, %(ttl_ms)s, %(expires_at)s) AS new ON DUPLICATE KEY UPDATE place=new.place, item=new.item, item_key=new.item_key, value=new.value, words=new.words, created_at=new.created_at, updated_at=new.updated_at, ttl_ms=new.ttl_ms, expires_at=new.expires_at;
SELECT seq, place FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE items SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, place FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM items WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- vectors
INSERT INTO vectors (tenant_id, user_id, agent_id, seq, model, digest, vector) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(model)s, %(digest)s, %(vector)s);
INSERT INTO vectors (tenant_id, user_id, agent_id, seq, model, digest, vector) VALUES (%(tenant_id)s, %(user_id)s, %(agent_id)s, %(seq)s, %(model)s, %(digest)s, %(vector)s) AS new ON DUPLICATE KEY UPDATE model=new.model, digest=new.digest, vector=new.vector;
SELECT seq, model FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR b=%(b)s) ORDER BY seq LIMIT %(limit)s;
UPDATE vectors SET seq=%(new_seq)s WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (a=%(a)s OR 1=1);
DELETE FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND (1=1);
SELECT seq, model FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);
DELETE FROM vectors WHERE tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id=%(agent_id)s AND seq IN (%(p0)s, %(p1)s);

-- all owners
SELECT tenant_id, user_id, agent_id FROM owners WHERE (tenant_id > %(tenant_id)s) OR (tenant_id=%(tenant_id)s AND user_id > %(user_id)s) OR (tenant_id=%(tenant_id)s AND user_id=%(user_id)s AND agent_id > %(agent_id)s) ORDER BY tenant_id, user_id, agent_id LIMIT %(limit)s;
