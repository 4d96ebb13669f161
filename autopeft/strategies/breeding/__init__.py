"""How genomes and learning rates are changed and mixed, and who breeds with whom."""
