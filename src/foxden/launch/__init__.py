"""Making processes: the starter, the fork servers, what a child does first, and the parent's hold on them."""
