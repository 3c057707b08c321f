"""The HTTP half of WHIP and WHEP for clients that bring their own WebRTC stack."""

import urllib.parse
import urllib.request


def post(url: str, offer: str) -> tuple[str, str]:
    """POSTs an offer; returns the answer and the session URL."""
    request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        if response.status != 201:
            raise RuntimeError(f"POST {url}: {response.status}")
        return response.read().decode(), urllib.parse.urljoin(url, response.headers["Location"])


def delete(session: str) -> int:
    """Ends a session; returns the status."""
    with urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=10) as response:
        return response.status
