package faults_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/faults"
)

// framed returns a frame with that body.
func framed(body string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body
}

// dawdle returns faults that are pending in both directions, fit no frame that the tests
// send, and so have each frame looked at whole.
func dawdle() []faults.FrameFault {
	return []faults.FrameFault{
		{Kind: faults.FrameWrongVersion, Direction: faults.FromWorker, Rand: rand.New(rand.NewPCG(1, 1))},
		{Kind: faults.FrameLoss, Direction: faults.BothWays, Skip: 1 << 30},
	}
}

// traffic is what one side sends: bytes, and in which portions it writes and the other side
// reads.
type traffic struct {
	bytes       []byte
	write, read int
}

func drawTraffic(t *rapid.T, label string) (tr traffic) {
	body := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 0, 200),
		rapid.SampledFrom([][]byte{nil, []byte(`{"jsonrpc":"2.0","id":7,"result":{"protocol":1}}`), []byte("\x00\x00\x00\x02{}raw"), bytes.Repeat([]byte("x"), 70_000)}),
	)
	for _, b := range rapid.SliceOfN(body, 0, 8).Draw(t, label+" bodies") {
		tr.bytes = append(tr.bytes, framed(string(b))...)
	}
	if rapid.Bool().Draw(t, label+" cut") {
		tr.bytes = tr.bytes[:rapid.IntRange(0, len(tr.bytes)).Draw(t, label+" end")]
	} else if rapid.Bool().Draw(t, label+" loses its frames") {
		tr.bytes = append(tr.bytes, rapid.SliceOfN(rapid.Byte(), 0, 2_000).Draw(t, label+" rest")...)
	}
	tr.write = rapid.IntRange(1, len(tr.bytes)+1).Draw(t, label+" write")
	tr.read = rapid.SampledFrom([]int{1, 3, 5, 4096, 1 << 20}).Draw(t, label+" read")
	return tr
}

// send writes the traffic in its portions.
func (tr traffic) send(w io.Writer) error {
	for p := tr.bytes; len(p) > 0; {
		n := min(tr.write, len(p))
		if m, err := w.Write(p[:n]); m != n || err != nil {
			return errors.Join(err, errors.New("short write"))
		}
		p = p[n:]
	}
	return nil
}

// receive reads so many bytes in the traffic's portions, or to the end.
func (tr traffic) receive(r io.Reader, most int) (got []byte, err error) {
	p := make([]byte, tr.read)
	for len(got) < most {
		n, err := r.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

// passes returns how many bytes of the traffic pass before its end: all, or if frames are
// looked at whole all but the last one that is not, unless there are none any more.
func (tr traffic) passes(whole bool, limit uint32) int {
	for at := 0; whole && at < len(tr.bytes); {
		if len(tr.bytes)-at < 4 {
			return at
		}
		length := binary.BigEndian.Uint32(tr.bytes[at:])
		if length > limit {
			break
		}
		end := at + 4 + int(length)
		if end > len(tr.bytes) {
			return at
		}
		at = end
	}
	return len(tr.bytes)
}

// checkTransparent sends the traffic through a link in both directions at once, and then
// has the worker end its channel.
func checkTransparent(t interface {
	Helper()
	Errorf(string, ...any)
}, link, worker io.ReadWriteCloser, to, from traffic, passes int,
) {
	t.Helper()
	sent, heard, answered := make(chan error, 1), make(chan struct{}), make(chan error, 1)
	go func() { sent <- to.send(link) }()
	go func() {
		defer close(heard)
		got, err := to.receive(worker, passes)
		if err != nil || !bytes.Equal(got, to.bytes[:passes]) {
			t.Errorf("to worker: got %d bytes, error %v; want the %d that were sent", len(got), err, passes)
		}
	}()
	go func() {
		err := from.send(worker)
		<-heard
		answered <- errors.Join(err, <-sent)
		worker.Close()
	}()
	got, err := from.receive(link, math.MaxInt)
	if err != io.EOF || !bytes.Equal(got, from.bytes) {
		t.Errorf("from worker: got %d bytes, error %v; want the %d that were sent, then io.EOF", len(got), err, len(from.bytes))
	}
	if n, err := link.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Errorf("after the worker's end: read %d bytes, error %v; want io.EOF", n, err)
	}
	if err := <-answered; err != nil {
		t.Errorf("sending: %v", err)
	}
	if err := link.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// Whatever is sent, in whatever portions, arrives as it was, whether frames are passed in
// pieces or looked at whole.
func TestLinkIsTransparent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		to, from := drawTraffic(t, "to"), drawTraffic(t, "from")
		whole := rapid.Bool().Draw(t, "whole")
		rapid.SyncTest(t, func(t *rapid.T) {
			host, remote := net.Pipe()
			link := faults.NewLink(1, host, 1<<16)
			if whole {
				for _, f := range dawdle() {
					link.Inject(f)
				}
			}
			checkTransparent(t, link, remote, to, from, to.passes(whole, 1<<16))
		})
	})
}

// FuzzLink is TestLinkIsTransparent for any bytes at all.
func FuzzLink(f *testing.F) {
	f.Add([]byte(framed(`{"id":1}`)+framed("")), 3, true)
	f.Add([]byte("\xff\xff\xff\xff rest"), 1, false)
	f.Add([]byte(framed("\x00\x00\x00\x08{\"id\":1}pay")), 7, true)
	f.Fuzz(func(t *testing.T, stream []byte, portion int, whole bool) {
		synctest.Test(t, func(t *testing.T) {
			host, remote := net.Pipe()
			link := faults.NewLink(1, host, 1<<10)
			if whole {
				for _, f := range dawdle() {
					link.Inject(f)
				}
			}
			tr := traffic{bytes: stream, write: 1 + max(portion, -portion-1)%100, read: 64}
			checkTransparent(t, link, remote, tr, tr, tr.passes(whole, 1<<10))
		})
	})
}

// pipes is one end of two pipes of the kernel.
type pipes struct{ in, out *os.File }

func (p pipes) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p pipes) Write(b []byte) (int, error) { return p.out.Write(b) }
func (p pipes) Close() error                { return errors.Join(p.in.Close(), p.out.Close()) }

func newPipes(t *testing.T) (host, remote pipes) {
	t.Helper()
	var err error
	if remote.in, host.out, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if host.in, remote.out, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	return host, remote
}

func TestLinkIsTransparentOverPipes(t *testing.T) {
	host, remote := newPipes(t)
	link := faults.NewLink(1, host, 0)
	large := framed(strings.Repeat("large", 100_000))
	tr := traffic{bytes: []byte(strings.Repeat(framed("small"), 1000) + large), write: 777, read: 4096}
	checkTransparent(t, link, remote, tr, tr, len(tr.bytes))
}

// Close ends reads and writes that are under way, of the host's and of the link's own, and
// what waits for an injury; and all that come later.
func TestLinkCloseUnblocks(t *testing.T) {
	for _, kind := range []string{"read", "write", "stalled write", "landed"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host, _ := net.Pipe()
				link := faults.NewLink(4, host, 0)
				injury := link.Inject(faults.FrameFault{Kind: faults.FrameStall, Direction: faults.FromWorker})
				if kind == "stalled write" {
					link.Inject(faults.FrameFault{Kind: faults.FrameStall, Direction: faults.ToWorker})
				}
				blocked := make(chan error, 3)
				for range 3 { // several at once: the others wait for their turn
					go func() {
						var err error
						switch kind {
						case "read":
							_, err = link.Read(make([]byte, 1))
						case "landed":
							_, err = injury.Landed(context.Background())
						default:
							_, err = link.Write([]byte(framed("x")))
						}
						blocked <- err
					}()
				}
				synctest.Wait()
				select {
				case err := <-blocked:
					t.Fatalf("not blocked before Close: %v", err)
				default:
				}
				link.Close()
				for range 3 {
					err := <-blocked
					if want := "worker 4: no frame passed from worker: its channel was closed"; kind == "landed" && !strings.Contains(err.Error(), want) ||
						kind != "landed" && err != io.ErrClosedPipe {
						t.Errorf("got %v", err)
					}
				}
				if _, err := link.Read(make([]byte, 1)); err != io.ErrClosedPipe {
					t.Errorf("Read after Close: %v", err)
				}
				if _, err := link.Write([]byte("x")); err != io.ErrClosedPipe {
					t.Errorf("Write after Close: %v", err)
				}
				late := link.Inject(faults.FrameFault{Kind: faults.FrameLoss, Direction: faults.BothWays})
				if _, err := late.Landed(context.Background()); err == nil {
					t.Error("an injury of a closed link has landed")
				}
				link.Close()
			})
		})
	}
}

// What the host writes when the worker is gone fails as it does without a link.
func TestLinkTellsOfAWorkerThatIsGone(t *testing.T) {
	host, remote := newPipes(t)
	link := faults.NewLink(1, host, 0)
	defer link.Close()
	remote.Close()
	if n, err := link.Write([]byte(framed("x"))); n != 0 || !errors.Is(err, os.ErrClosed) && !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("wrote %d bytes, error %v; want a broken pipe", n, err)
	}
	if _, err := link.Write([]byte(framed("x"))); err == nil {
		t.Error("a second write succeeded")
	}
}

// A link takes no more than a pipe does of what nobody reads.
func TestLinkHoldsABoundedAmount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, remote := net.Pipe()
		link := faults.NewLink(1, host, 0)
		injury := link.Inject(faults.FrameFault{Kind: faults.FrameSilence, Direction: faults.BothWays})
		frame := []byte(framed(strings.Repeat("x", 996)))
		for name, w := range map[string]io.Writer{"to worker": link, "from worker": remote} {
			taken := make(chan int)
			go func() {
				for n := 0; ; n++ {
					if _, err := w.Write(frame); err != nil {
						taken <- n
						return
					}
				}
			}()
			time.Sleep(time.Hour)
			defer func() {
				if n := <-taken; n < 50 || n > 150 {
					t.Errorf("%s: %d frames of 1000 bytes were taken in silence, want some 64 KiB", name, n)
				}
			}()
		}
		if _, err := injury.Landed(t.Context()); err != nil {
			t.Error(err)
		}
		link.Close()
	})
}
