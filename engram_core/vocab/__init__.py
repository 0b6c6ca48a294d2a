"""The packed vocabularies of the exact tokenizers, read by engram_core.tokens; NOTICE tells their origin."""
