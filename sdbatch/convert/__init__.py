"""`python -m sdbatch.convert SRC DST`: any Stable Diffusion checkpoint in Paddle's own form.

`write` makes the folder, `record` says what became of every tensor, `verify` reads it all again,
`report` is a page for people.
"""
