"""The steps by which a store's tables came to be what they are; ``schema`` runs them."""
