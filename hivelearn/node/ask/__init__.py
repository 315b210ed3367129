"""Questions and answers: who is asked, what is said, what an expert corrects."""
