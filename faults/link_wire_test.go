package faults_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/faults"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// budget is what a call has in virtual time and, where it is to run out, in real time.
const budget = 2 * time.Second

// rig is a pool of one worker behind links.
type rig struct {
	*pool.Pool[*process.Worker]
	links  faults.Links
	calls  int
	budget time.Duration // of a call
}

// wired is the configuration of demo workers in memory.
func wired() process.Config {
	return process.Config{Dial: func(context.Context, pool.WorkerID) (io.ReadWriteCloser, error) {
		host, remote := net.Pipe()
		go worker.Serve(context.Background(), remote, worker.Demo(func(int) { remote.Close() }), worker.DemoOptions()...)
		return host, nil
	}}
}

func newRig(t *testing.T, cfg process.Config) *rig {
	t.Helper()
	r := &rig{budget: budget}
	cfg.Wrap = r.links.Wrap
	var err error
	if r.Pool, err = process.NewPool(cfg, pool.Config[*process.Worker]{MaxSize: 1}); err != nil {
		t.Fatal(err)
	}
	return r
}

// close ends the pool, after which no link may be open.
func (r *rig) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if open := r.links.Open(); len(open) > 0 {
		t.Errorf("links of %v are open after Shutdown", open)
	}
}

// ask makes a call whose answer no other call has, and returns whom it went to and what is
// wrong: anything but an error that the worker is charged with fails the test.
func (r *rig) ask(t *testing.T) (id pool.WorkerID, err error) {
	t.Helper()
	r.calls++
	want, got := fmt.Sprint("call ", r.calls), ""
	ctx, cancel := context.WithTimeout(context.Background(), r.budget)
	defer cancel()
	err = r.Do(ctx, "", func(ctx context.Context, w *process.Worker) error {
		id = w.ID()
		return w.Call(ctx, "echo", want, &got)
	})
	var remote *process.RemoteError
	switch {
	case err == nil && got != want:
		t.Errorf("%s: got the answer %q", want, got)
	case err != nil && !errors.Is(err, process.ErrBroken) && !errors.As(err, &remote):
		t.Errorf("%s: got %v, which does not say that the worker is broken", want, err)
	}
	return id, err
}

// mustAsk is ask where nothing is wrong.
func (r *rig) mustAsk(t *testing.T) pool.WorkerID {
	t.Helper()
	id, err := r.ask(t)
	if err != nil {
		t.Fatalf("call %d: %v", r.calls, err)
	}
	return id
}

// landedSoon returns whether an injury has landed, once all is at rest in the bubble.
func landedSoon(injury *faults.LinkInjury) (string, error) {
	synctest.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return injury.Landed(ctx)
}

var errRefused = errors.New("refused by the worker")

// harmRow is a fault that lasts for one frame, and how the call that met it may end.
type harmRow struct {
	fault    faults.FrameFault
	may      []error // nil: with its answer
	evidence string
	discards bool // always
}

func harmRows() []harmRow {
	const to, from = faults.ToWorker, faults.FromWorker
	answered, late := error(nil), context.DeadlineExceeded
	return []harmRow{
		{faults.FrameFault{Kind: faults.FrameBitFlip, Direction: to}, []error{process.ErrProtocol, io.EOF, late, errRefused}, "flipped", false},
		{faults.FrameFault{Kind: faults.FrameBitFlip, Direction: from}, []error{process.ErrProtocol, late}, "flipped", true},
		{faults.FrameFault{Kind: faults.FrameTruncate, Direction: to}, []error{io.EOF}, "then end of file", true},
		{faults.FrameFault{Kind: faults.FrameTruncate, Direction: from}, []error{io.ErrUnexpectedEOF}, "then end of file", true},
		{faults.FrameFault{Kind: faults.FrameOversize, Direction: to}, []error{io.EOF}, "announced, limit 16777216", true},
		{faults.FrameFault{Kind: faults.FrameOversize, Direction: from}, []error{process.ErrFrameTooLarge}, "announced, limit 16777216", true},
		{faults.FrameFault{Kind: faults.FrameGarbage, Direction: to}, []error{io.EOF}, "garbage", true},
		{faults.FrameFault{Kind: faults.FrameGarbage, Direction: from}, []error{process.ErrProtocol}, "garbage", true},
		{faults.FrameFault{Kind: faults.FrameDuplicate, Direction: to}, []error{answered, io.EOF}, "sent twice", true},
		{faults.FrameFault{Kind: faults.FrameDuplicate, Direction: from}, []error{answered}, "sent twice", true},
		{faults.FrameFault{Kind: faults.FrameLate, Direction: to, For: budget / 2}, []error{answered}, "held back for 1s", false},
		{faults.FrameFault{Kind: faults.FrameLate, Direction: from, For: budget / 2}, []error{answered}, "held back for 1s", false},
		{faults.FrameFault{Kind: faults.FrameLate, Direction: to, For: 2 * budget}, []error{late}, "held back for 4s", true},
		{faults.FrameFault{Kind: faults.FrameLate, Direction: from, For: 2 * budget}, []error{late}, "held back for 4s", true},
		{faults.FrameFault{Kind: faults.FrameWrongID, Direction: to}, []error{process.ErrProtocol, io.EOF}, "id ", true},
		{faults.FrameFault{Kind: faults.FrameWrongID, Direction: from}, []error{process.ErrProtocol}, "id ", true},
		{faults.FrameFault{Kind: faults.FrameNoise, Direction: to}, []error{io.EOF, late}, "bytes of noise", true},
		{faults.FrameFault{Kind: faults.FrameNoise, Direction: from}, []error{process.ErrProtocol, late}, "bytes of noise", true},
		{faults.FrameFault{Kind: faults.FrameLoss, Direction: to}, []error{late}, "dropped", true},
		{faults.FrameFault{Kind: faults.FrameLoss, Direction: from}, []error{late}, "dropped", true},
		{faults.FrameFault{Kind: faults.FrameDelay, Direction: to, For: budget / 4, Jitter: budget / 4}, []error{answered}, "delayed by", false},
		{faults.FrameFault{Kind: faults.FrameDelay, Direction: from, For: budget / 4, Jitter: budget / 4}, []error{answered}, "delayed by", false},
		{faults.FrameFault{Kind: faults.FrameDelay, Direction: from, For: 2 * budget}, []error{late}, "delayed by 4s", true},
		{faults.FrameFault{Kind: faults.FrameSilence, Direction: to}, []error{late}, "held until healed", true},
		{faults.FrameFault{Kind: faults.FrameSilence, Direction: from}, []error{late}, "held until healed", true},
		{faults.FrameFault{Kind: faults.FrameSilence, Direction: faults.BothWays}, []error{late}, "held until healed", true},
		{faults.FrameFault{Kind: faults.FrameStall, Direction: to}, []error{late}, "held until healed", true},
		{faults.FrameFault{Kind: faults.FrameStall, Direction: from}, []error{late}, "held until healed", true},
	}
}

func (row harmRow) name() string { return fmt.Sprintf("%v/%v", row.fault, row.fault.For) }

// permits reports whether the call may end so.
func (row harmRow) permits(err error) bool {
	var remote *process.RemoteError
	for _, may := range row.may {
		if may == nil && err == nil || may != nil && errors.Is(err, may) || may == errRefused && errors.As(err, &remote) {
			return true
		}
	}
	return false
}

// check has the fault harm the second call of a worker.
func (row harmRow) check(t *testing.T, r *rig, seed uint64) {
	t.Helper()
	defer r.close(t)
	first := r.mustAsk(t)
	row.fault.Rand = rand.New(rand.NewPCG(seed, 7))
	injury := r.links.Of(first).Inject(row.fault)
	_, err := r.ask(t)
	if !row.permits(err) {
		t.Errorf("seed %d: the call that met it got %v, want one of %v", seed, err, row.may)
	}
	frame := "frame 3 "
	evidence, missed := landedSoon(injury)
	if missed != nil || !strings.Contains(evidence, frame) || !strings.Contains(evidence, row.evidence) {
		t.Errorf("seed %d: landed %q, error %v; want %sand %q", seed, evidence, missed, frame, row.evidence)
	}
	next := r.mustAsk(t)
	if row.discards && next == first || err != nil && errors.Is(err, process.ErrBroken) && next == first {
		t.Errorf("seed %d: after %v (%s) worker %d served the next call, want another", seed, err, evidence, next)
	}
	if injury.Fatal() && !row.discards {
		t.Errorf("%v says that it is fatal, want that it may not be", injury)
	}
	if err == nil && !row.discards && next != first {
		t.Errorf("seed %d: worker %d was discarded, although %v was harmless", seed, first, injury)
	}
}

// Each fault lands on the call that it is meant for. That ends with its own answer or an
// error, the worker is discarded where the protocol says so, and the next call is answered.
func TestFrameFaultsOnTheWire(t *testing.T) {
	for _, row := range harmRows() {
		t.Run(row.name(), func(t *testing.T) {
			for seed := range uint64(40) {
				synctest.Test(t, func(t *testing.T) { row.check(t, newRig(t, wired()), seed) })
			}
		})
	}
}

// A fault whose frame does not pass has not landed, and says what passed instead.
func TestFrameFaultsThatDoNotLand(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kind := range faults.FrameKinds() {
		for _, way := range []faults.Direction{faults.ToWorker, faults.FromWorker, faults.BothWays} {
			f := faults.FrameFault{Kind: kind, Direction: way, Rand: rng}
			if kind == faults.FrameLate || kind == faults.FrameDelay {
				f.For = time.Second
			}
			if f.Check() != nil {
				continue // from the worker alone
			}
			t.Run(f.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { checkMissed(t, f) })
			})
		}
	}
}

func checkMissed(t *testing.T, f faults.FrameFault) {
	r := newRig(t, wired())
	defer r.close(t)
	first := r.mustAsk(t)
	link := r.links.Of(first)
	miss := func(name string, injury *faults.LinkInjury, want string) {
		t.Helper()
		evidence, err := landedSoon(injury)
		if evidence != "" || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "worker 1") {
			t.Errorf("%s: landed %q, error %v; want that it has not: %q", name, evidence, err, want)
		}
	}
	idle := link.Inject(f)
	miss("without traffic", idle, "no frame passed "+string(f.Direction)+": context canceled")
	idle.Heal()
	miss("healed", idle, "no frame passed "+string(f.Direction)+": it was healed")

	f.Skip = 100
	spared := link.Inject(f)
	if id := r.mustAsk(t); id != first {
		t.Errorf("worker %d answered, want %d", id, first)
	}
	frames := 1
	if f.Direction == faults.BothWays {
		frames = 2
	}
	miss("spared", spared, fmt.Sprintf("it fitted none of %d frames %s: context canceled", frames, f.Direction))
	if err := r.Do(t.Context(), "", func(context.Context, *process.Worker) error { return link.Close() }); err != nil {
		t.Error(err)
	}
	miss("closed", spared, "its channel was closed")
}

// What passes the other way does not count.
func TestFrameFaultInTheWrongDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, remote := net.Pipe()
		link := faults.NewLink(1, host, 0)
		defer remote.Close()
		defer link.Close()
		injury := link.Inject(faults.FrameFault{Kind: faults.FrameLoss, Direction: faults.FromWorker})
		go link.Write([]byte(framed("x")))
		if _, err := io.ReadFull(remote, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if evidence, err := landedSoon(injury); err == nil || !strings.Contains(err.Error(), "no frame passed from worker") {
			t.Errorf("landed %q, error %v", evidence, err)
		}
	})
}
