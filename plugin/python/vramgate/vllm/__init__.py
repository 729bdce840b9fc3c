"""vramgate's doors into vLLM: `endpoint` (inside its key check), `connector` (inside its scheduler), `stats`."""
