"""Images: their names, their content, and the way to and from registries.

Which library does what, and why:

- urllib3 carries the HTTP: connections, TLS, proxies, chunks. Redirects are followed here,
  since a token must not follow them to another host.
- The Docker SDK reads the accounts of ``docker login`` and asks the credential helpers.
- The registry protocol itself is here. The kept libraries for it were looked at (oras 0.2,
  python-dxf 12): neither goes on with a blob that was cut, has mirrors, or can be ended in
  the middle; oras has no deadlines, and answers a token that ran out with the same token;
  python-dxf sends no password to a registry over plain http, as on this machine. Around
  them, all but the URLs would have to be written anew.
"""

__all__: list[str] = []
