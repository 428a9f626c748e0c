"""Reports: all answers as one page and as an article."""
