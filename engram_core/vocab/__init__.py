"""The packed vocabularies of the exact tokenizers, data files read by engram_core.tokens; see NOTICE for their origin."""
