"""Host side: from files to arrays, numpy only."""
