"""Chinese prompts into English, by a Marian model in a local folder.

`files` opens the folder and refuses what cannot be right; `translator` runs it. Only `network`,
`search` and `translator` import Paddle.
"""
