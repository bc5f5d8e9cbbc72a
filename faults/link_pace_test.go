package faults_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/faults"
	"github.com/poolproof/poolproof/pool/process"
)

// A few frames with ids, and one without.
var (
	one   = framed(`{"id":1}`)
	two   = framed(`{"id":2}`)
	three = framed(`{"id":3}`)
	note  = framed(`{"method":"log"}`)
)

// arrival is what a receiver got at once, and when.
type arrival struct {
	what string
	at   time.Duration // since the beginning
}

// arrivals sends frames at the beginning, one write each, and returns what came at the other
// end, and when, up to the end of the channel. The sender ends it when it has sent all.
func arrivals(from io.WriteCloser, to io.Reader, frames ...string) (got []arrival) {
	begin := time.Now()
	go func() {
		for _, frame := range frames {
			from.Write([]byte(frame))
		}
		from.Close()
	}()
	p := make([]byte, 1<<20)
	for {
		n, err := to.Read(p)
		if err != nil {
			return append(got, arrival{err.Error(), time.Since(begin)})
		}
		got = append(got, arrival{string(p[:n]), time.Since(begin)})
	}
}

// linked runs test with a link whose worker's end is at hand.
func linked(t *testing.T, test func(t *testing.T, link *faults.Link, worker net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		host, remote := net.Pipe()
		link := faults.NewLink(1, host, 0)
		defer remote.Close()
		defer link.Close()
		test(t, link, remote)
	})
}

func TestLatePassesBehindTheOthers(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		injury := link.Inject(faults.FrameFault{Kind: faults.FrameLate, Direction: faults.FromWorker, For: time.Minute})
		got := arrivals(worker, link, note, one, two, note)
		want := []arrival{{note, 0}, {two, 0}, {note, 0}, {one, time.Minute}, {"EOF", time.Minute}}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if evidence, err := injury.Landed(t.Context()); err != nil || evidence != "frame 2 from worker, 8 bytes: held back for 1m0s" {
			t.Errorf("landed %q, error %v", evidence, err)
		}
	})
}

// What is late does not come in the middle of another frame.
func TestLateWaitsForTheEndOfAFrame(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		link.Inject(faults.FrameFault{Kind: faults.FrameLate, Direction: faults.FromWorker, For: time.Second})
		go func() {
			worker.Write([]byte(one))
			worker.Write([]byte(two[:6]))
			time.Sleep(time.Minute)
			worker.Write([]byte(two[6:]))
			worker.Close()
		}()
		if got, err := io.ReadAll(link); err != nil || string(got) != two+one {
			t.Errorf("got %q, error %v; want the second frame and then the first", got, err)
		}
	})
}

func TestDelayKeepsTheOrder(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		link.Inject(faults.FrameFault{
			Kind: faults.FrameDelay, Direction: faults.FromWorker, Lasting: true,
			For: time.Second, Jitter: time.Minute, Rand: rand.New(rand.NewPCG(3, 4)),
		})
		frames := []string{one, note, two, note, three, note, note, note}
		got := arrivals(worker, link, frames...)
		var content strings.Builder
		var times []time.Duration
		for _, a := range got[:len(got)-1] {
			content.WriteString(a.what)
			times = append(times, a.at)
		}
		last := times[len(times)-1]
		if content.String() != strings.Join(frames, "") || !slices.IsSorted(times) || times[0] < time.Second || last > time.Second+time.Minute {
			t.Errorf("got %v, want the frames in order, each between 1s and 1m1s after the beginning", got)
		}
		if end := got[len(got)-1]; end.what != "EOF" || end.at < last {
			t.Errorf("the end was %v, want EOF, no sooner than the last frame", end)
		}
	})
}

// Two delays add up, and one that is healed does not.
func TestDelaysAddUp(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		delay := faults.FrameFault{Kind: faults.FrameDelay, Direction: faults.FromWorker, Lasting: true, For: time.Second}
		healed := link.Inject(delay)
		link.Inject(delay)
		delay.Lasting = false
		link.Inject(delay)
		healed.Heal()
		got := arrivals(worker, link, one)
		if want := []arrival{{one, 2 * time.Second}, {"EOF", 3 * time.Second}}; got[0] != want[0] || got[1].what != "EOF" {
			t.Errorf("got %v, want %v", got, want[:1])
		}
	})
}

// In silence the sender notices nothing. When it is healed all passes in order, and the end.
func TestSilenceIsHealed(t *testing.T) {
	for _, way := range []faults.Direction{faults.ToWorker, faults.FromWorker, faults.BothWays} {
		t.Run(string(way), func(t *testing.T) {
			linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
				injury := link.Inject(faults.FrameFault{Kind: faults.FrameSilence, Direction: way})
				time.AfterFunc(time.Hour, injury.Heal)
				sent := time.Now()
				silent := way != faults.ToWorker
				if silent {
					for _, a := range arrivals(worker, link, one, two, note) {
						if a.at != time.Hour {
							t.Errorf("got %q after %v, want it after an hour", a.what, a.at)
						}
					}
				}
				if way == faults.FromWorker {
					return
				}
				if n, err := link.Write([]byte(one)); !silent && (n != len(one) || err != nil || time.Since(sent) != 0) {
					t.Errorf("wrote %d bytes in %v, error %v; want it done at once", n, time.Since(sent), err)
				}
				if silent {
					return // the worker's end has closed its channel
				}
				got := make([]byte, len(one))
				if _, err := io.ReadFull(worker, got); err != nil || string(got) != one || time.Since(sent) != time.Hour {
					t.Errorf("got %q after %v, error %v; want the frame after an hour", got, time.Since(sent), err)
				}
			})
		})
	}
}

// A stall blocks the sender, and takes it up again when it is healed.
func TestStallBlocksTheSender(t *testing.T) {
	for _, way := range []faults.Direction{faults.ToWorker, faults.FromWorker} {
		t.Run(string(way), func(t *testing.T) {
			linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
				var sender, receiver io.ReadWriteCloser = link, worker
				if way == faults.FromWorker {
					sender, receiver = worker, link
				}
				injury := link.Inject(faults.FrameFault{Kind: faults.FrameStall, Direction: way})
				var wrote time.Duration
				begin := time.Now()
				go func() {
					sender.Write([]byte(one))
					sender.Write([]byte(two))
					wrote = time.Since(begin)
				}()
				evidence, err := landedSoon(injury)
				if err != nil || !strings.Contains(evidence, "frame 1 "+string(way)) {
					t.Errorf("landed %q, error %v", evidence, err)
				}
				time.AfterFunc(time.Hour, injury.Heal)
				got := make([]byte, len(one+two))
				if _, err := io.ReadFull(receiver, got); err != nil || string(got) != one+two {
					t.Errorf("got %q, error %v", got, err)
				}
				synctest.Wait()
				if wrote != time.Hour {
					t.Errorf("the sender was done after %v, want that it waited for an hour", wrote)
				}
			})
		})
	}
}

// A fault that lasts harms each frame until it is healed, the one injected first goes before
// others, and Skip spares as many as it says.
func TestWhichFramesAreHarmed(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		double := faults.FrameFault{Kind: faults.FrameDuplicate, Direction: faults.FromWorker, Skip: 1}
		link.Inject(double)
		loss := link.Inject(faults.FrameFault{Kind: faults.FrameLoss, Direction: faults.FromWorker, Lasting: true, Skip: 2})
		next := func(frame string) {
			t.Helper()
			if _, err := worker.Write([]byte(frame)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		next(one)   // spared by both
		next(note)  // fits loss alone, which spares it
		next(two)   // sent twice, so that loss does not have it
		next(three) // lost
		next(note)  // lost
		loss.Heal()
		loss.Heal() // nothing more
		next(three)
		worker.Close()
		if got, err := io.ReadAll(link); err != nil || string(got) != one+note+two+two+three {
			t.Errorf("got %q, error %v", got, err)
		}
		if evidence, err := loss.Landed(t.Context()); err != nil || evidence != "frame 4 from worker, 8 bytes: dropped" {
			t.Errorf("landed %q, error %v", evidence, err)
		}
	})
}

// A frame that was cut off by its sender passes as it is, whatever is pending.
func TestCutFrameIsNotHarmed(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		injury := link.Inject(faults.FrameFault{Kind: faults.FrameLoss, Direction: faults.FromWorker})
		got := arrivals(worker, link, one[:7])
		if want := []arrival{{one[:7], 0}, {"EOF", 0}}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if evidence, err := landedSoon(injury); err == nil {
			t.Errorf("landed %q", evidence)
		}
	})
}

// Nothing lands on a sender that has lost its frames by itself, which is said.
func TestNothingLandsOutOfFrame(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		injury := link.Inject(faults.FrameFault{Kind: faults.FrameLoss, Direction: faults.FromWorker})
		got := arrivals(worker, link, "Traceback", one)
		var content strings.Builder
		for _, a := range got {
			content.WriteString(a.what)
		}
		if content.String() != "Traceback"+one+"EOF" {
			t.Errorf("got %q", content.String())
		}
		if evidence, err := landedSoon(injury); err == nil || !strings.Contains(err.Error(), "told apart no more") {
			t.Errorf("landed %q, error %v", evidence, err)
		}
	})
}

// A harmed frame that its receiver has only begun to read has landed only if what it has
// read is what was harmed.
func TestLandedOnlyWhereTheHarmIsTaken(t *testing.T) {
	linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
		injury := link.Inject(faults.FrameFault{Kind: faults.FrameDuplicate, Direction: faults.FromWorker})
		go worker.Write([]byte(one))
		for n, landed := range []bool{false, true} {
			if _, err := io.ReadFull(link, make([]byte, len(one)-3+4*n)); err != nil {
				t.Fatal(err)
			}
			evidence, err := landedSoon(injury)
			if (err == nil) != landed {
				t.Errorf("read %d: landed %q, error %v", n, evidence, err)
			}
			if !landed && !strings.Contains(err.Error(), "not taken yet: frame 1 from worker, 8 bytes: sent twice") {
				t.Errorf("got %v", err)
			}
		}
	})
}

// The same seed harms in the same way.
func TestHarmIsDrawnFromTheSeed(t *testing.T) {
	harm := func(t *testing.T, seed uint64) (evidence []string) {
		linked(t, func(t *testing.T, link *faults.Link, worker net.Conn) {
			rng := rand.New(rand.NewPCG(seed, 0))
			for _, kind := range []faults.FrameKind{faults.FrameBitFlip, faults.FrameGarbage, faults.FrameNoise, faults.FrameWrongID, faults.FrameOversize} {
				injury := link.Inject(faults.FrameFault{Kind: kind, Direction: faults.FromWorker, Rand: rng})
				go worker.Write([]byte(one))
				link.Read(make([]byte, 1000))
				what, err := landedSoon(injury)
				if err != nil {
					t.Error(err)
				}
				evidence = append(evidence, what)
			}
		})
		return evidence
	}
	first := harm(t, 5)
	if again := harm(t, 5); !slices.Equal(first, again) {
		t.Errorf("seed 5: %q, and then %q", first, again)
	}
	if other := harm(t, 6); slices.Equal(first, other) {
		t.Errorf("seeds 5 and 6: both %q", first)
	}
}

func TestCheckOfFaults(t *testing.T) {
	rng := rand.New(rand.NewPCG(0, 0))
	for says, f := range map[string]faults.FrameFault{
		"no such kind":              {Kind: "bitflip", Direction: faults.ToWorker, Rand: rng},
		"no such direction":         {Kind: faults.FrameLoss},
		"goes from worker":          {Kind: faults.FrameWrongVersion, Direction: faults.BothWays, Rand: rng},
		"Skip is -1":                {Kind: faults.FrameLoss, Direction: faults.ToWorker, Skip: -1},
		"only bit-flip":             {Kind: faults.FrameLoss, Direction: faults.ToWorker, Payload: true},
		"not be negative":           {Kind: faults.FrameDelay, Direction: faults.ToWorker, For: -1},
		"late needs a time":         {Kind: faults.FrameLate, Direction: faults.ToWorker},
		"loss has no such time":     {Kind: faults.FrameLoss, Direction: faults.ToWorker, For: 1},
		"late has no such time":     {Kind: faults.FrameLate, Direction: faults.ToWorker, For: 1, Jitter: 1},
		"Rand is nil; noise draws":  {Kind: faults.FrameNoise, Direction: faults.ToWorker},
		"Rand is nil; delay draws":  {Kind: faults.FrameDelay, Direction: faults.ToWorker, Jitter: 1},
		"Rand is nil; wrong-id dra": {Kind: faults.FrameWrongID, Direction: faults.ToWorker},
	} {
		if err := f.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want that %s", f, err, says)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Inject took %+v", f)
				}
			}()
			host, remote := net.Pipe()
			defer remote.Close()
			link := faults.NewLink(1, host, 0)
			defer link.Close()
			link.Inject(f)
		}()
	}
}

// A payload that was flipped is taken for a good one: only a caller that knows what it
// should be can tell, and the worker is kept.
func TestFlippedPayloadIsForTheCallerToSee(t *testing.T) {
	wrong := 0
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, wired())
			defer r.close(t)
			first := r.mustAsk(t)
			rng := rand.New(rand.NewPCG(seed, 0))
			injury := r.links.Of(first).Inject(faults.FrameFault{Kind: faults.FrameBitFlip, Direction: faults.FromWorker, Payload: true, Rand: rng})
			answer := ""
			ctx, cancel := context.WithTimeout(t.Context(), budget)
			defer cancel()
			err := r.Do(ctx, "", func(ctx context.Context, w *process.Worker) error { return w.Call(ctx, "echo", "right", &answer) })
			if evidence, missed := landedSoon(injury); missed != nil || !strings.Contains(evidence, "flipped") || injury.Fatal() {
				t.Errorf("landed %q, error %v, fatal %v", evidence, missed, injury.Fatal())
			}
			if err == nil && answer == "right" || err != nil && !errors.Is(err, process.ErrBroken) {
				t.Errorf("seed %d: got %q, error %v", seed, answer, err)
			}
			if err == nil {
				wrong++
				if id := r.mustAsk(t); id != first {
					t.Errorf("worker %d was discarded", first)
				}
			}
		})
	}
	if wrong == 0 {
		t.Error("no caller got a wrong value")
	}
}
