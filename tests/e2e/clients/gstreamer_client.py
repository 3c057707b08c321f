"""GStreamer's webrtcbin as WHIP publisher: live frames through appsrc, a real encoder, full gathering, no trickle.

    gstreamer_client.py URL --codec H264|VP8 --seconds 8
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clients import whip  # noqa: E402
from harness import pattern  # noqa: E402

ENCODERS = {
    "H264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=1200 key-int-max=2500 ! video/x-h264,profile=constrained-baseline"
    " ! rtph264pay config-interval=-1 aggregate-mode=zero-latency ! application/x-rtp,media=video,encoding-name=H264,payload=96",
    "VP8": "vp8enc deadline=1 cpu-used=8 target-bitrate=1200000 keyframe-max-dist=2500"
    " ! rtpvp8pay picture-id-mode=15-bit ! application/x-rtp,media=video,encoding-name=VP8,payload=96",
}


def say(**what) -> None:
    print(json.dumps(what), flush=True)


class Publisher:
    """One pipeline and its exchange."""

    def __init__(self, args):
        self.args = args
        self.width, self.height = map(int, args.size.split("x"))
        self.pipeline = Gst.parse_launch(
            "webrtcbin name=rtc bundle-policy=max-bundle "
            f"appsrc name=pictures is-live=true format=time do-timestamp=true caps=video/x-raw,format=I420,width={self.width},"
            f"height={self.height},framerate={args.fps}/1 ! queue ! {ENCODERS[args.codec]} ! rtc. "
            f"audiotestsrc is-live=true wave=sine freq={args.hz} volume=0.4 ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2"
            " ! queue ! opusenc ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! rtc."
        )
        self.rtc = self.pipeline.get_by_name("rtc")
        self.source = self.pipeline.get_by_name("pictures")
        self.session, self.wanted, self.offered, self.running = None, False, False, True
        self.rtc.connect("on-negotiation-needed", lambda _: self.offer())
        self.rtc.connect("notify::ice-gathering-state", lambda *_: self.gathered())
        self.rtc.connect("notify::connection-state", lambda *_: self.state())

    def offer(self) -> None:
        """WHIP has one offer: later wishes to renegotiate are not followed."""
        if self.wanted:
            return
        self.wanted = True
        self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.created))

    def created(self, promise) -> None:
        # The boxed description borrows from the reply: both stay referenced for as long as the exchange lasts.
        self.reply = promise.get_reply()
        self.description = self.reply.get_value("offer")
        self.sdp = self.description.sdp
        for i in range(2):
            transceiver = self.rtc.emit("get-transceiver", i)
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        self.rtc.emit("set-local-description", self.description, Gst.Promise.new())

    def gathered(self) -> None:
        if self.rtc.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE or self.offered:
            return
        self.offered = True
        threading.Thread(target=self.exchange, daemon=True).start()

    def exchange(self) -> None:
        sdp = self.rtc.get_property("local-description").sdp.as_text()
        try:
            answer, self.session = whip.post(self.args.url, sdp)
        except Exception as e:  # the harness shows it
            say(event="refused", error=str(e), body=getattr(e, "read", lambda: b"")().decode())
            loop.quit()
            return
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.rtc.emit("set-remote-description", description, Gst.Promise.new())

    def state(self) -> None:
        state = self.rtc.get_property("connection-state").value_nick
        say(event=state, at=time.time() * 1000, session=self.session)

    def feed(self) -> None:
        painter, n, begin = pattern.Painter(self.width, self.height), 0, time.time()
        while self.running:
            time.sleep(max(0, begin + n / self.args.fps - time.time()))
            frame = painter.i420(self.args.first + n, int(time.time() * 1000))
            self.source.emit("push-buffer", Gst.Buffer.new_wrapped(frame))
            n += 1


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("url")
parser.add_argument("--codec", choices=list(ENCODERS), default="H264")
parser.add_argument("--seconds", type=float, default=8)
parser.add_argument("--size", default="640x360")
parser.add_argument("--fps", type=int, default=20)
parser.add_argument("--hz", type=float, default=440)
parser.add_argument("--first", type=int, default=0)

Gst.init(None)
publisher = Publisher(parser.parse_args())
loop = GLib.MainLoop()
bus = publisher.pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message::error", lambda _, m: (say(event="error", error=str(m.parse_error())), loop.quit()))
GLib.timeout_add(int(publisher.args.seconds * 1000), loop.quit)
publisher.pipeline.set_state(Gst.State.PLAYING)
threading.Thread(target=publisher.feed, daemon=True).start()
loop.run()
publisher.running = False
if publisher.session:
    say(event="deleted", status=whip.delete(publisher.session))
publisher.pipeline.set_state(Gst.State.NULL)
