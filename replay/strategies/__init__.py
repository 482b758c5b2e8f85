"""The strategies, one file each: what is proposed, in the words of its proposal."""
