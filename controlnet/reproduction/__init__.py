"""The papers' tables, reproduced: which runs they need, what is kept of each, and our numbers beside the paper's."""
