"""Curation: from what runs leave behind to the samples that a person should look at next, and what they say of them."""
