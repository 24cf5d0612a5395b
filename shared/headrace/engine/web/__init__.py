"""HTTP as the engine speaks it: messages, addresses that are closed, redirects, and the transport over aiohttp."""
