"""Keeps the books: what is to run, where it runs, and the records that it leaves."""
