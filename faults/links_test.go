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

	"github.com/poolproof/poolproof/faults"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// Links that are closed are forgotten, however many there have been.
func TestLinksForgetTheClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, wired())
		defer r.close(t)
		seen := map[pool.WorkerID]bool{}
		for range 300 {
			id := r.mustAsk(t)
			link := r.links.Of(id)
			if open := r.links.Open(); seen[id] || link.ID() != id || !slices.Equal(open, []pool.WorkerID{id}) {
				t.Fatalf("worker %d, seen before: %v; its link is of %d, open are those of %v", id, seen[id], link.ID(), open)
			}
			seen[id] = true
			injury := link.Inject(faults.FrameFault{Kind: faults.FrameDuplicate, Direction: faults.FromWorker})
			r.mustAsk(t)
			if _, err := landedSoon(injury); err != nil {
				t.Fatal(err)
			}
			if r.links.Of(id) != nil {
				t.Fatalf("the link of worker %d is known after its end", id)
			}
		}
	})
}

// startWith starts a worker in whose start a fault is injected, and returns the injury.
func startWith(t *testing.T, f faults.FrameFault) (w *process.Worker, injury *faults.LinkInjury, err error) {
	t.Helper()
	links := faults.Links{Opened: func(l *faults.Link) { injury = l.Inject(f) }}
	cfg := wired()
	cfg.Wrap = links.Wrap
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	w, err = process.Start(ctx, cfg, 9)
	synctest.Wait()
	if err != nil && links.Of(9) != nil {
		t.Error("the link of a failed start is open")
	}
	return w, injury, err
}

// Faults can be put into a start, as whoever is told of a link is so before hello.
func TestFaultsInAStart(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for name, test := range map[string]struct {
		fault faults.FrameFault
		want  error // nil: the start succeeds
		says  string
	}{
		"silence":  {faults.FrameFault{Kind: faults.FrameSilence, Direction: faults.FromWorker}, context.DeadlineExceeded, "frame 1 from worker"},
		"cut":      {faults.FrameFault{Kind: faults.FrameTruncate, Direction: faults.FromWorker, Rand: rng}, io.ErrUnexpectedEOF, "frame 1 from worker"},
		"wrong id": {faults.FrameFault{Kind: faults.FrameWrongID, Direction: faults.FromWorker, Rand: rng}, process.ErrProtocol, "id 1 -> "},
		"slow":     {faults.FrameFault{Kind: faults.FrameDelay, Direction: faults.BothWays, For: budget / 4, Lasting: true}, nil, "frame 1 to worker"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, injury, err := startWith(t, test.fault)
				if !errors.Is(err, test.want) {
					t.Errorf("Start: got %v, want %v", err, test.want)
				}
				if evidence, err := landedSoon(injury); err != nil || !strings.Contains(evidence, test.says) {
					t.Errorf("landed %q, error %v; want %q", evidence, err, test.says)
				}
				if w != nil {
					w.Stop(t.Context())
				}
			})
		})
	}
}

func TestWrongVersionInHello(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			w, injury, err := startWith(t, faults.FrameFault{
				Kind: faults.FrameWrongVersion, Direction: faults.FromWorker, Rand: rand.New(rand.NewPCG(seed, 8)),
			})
			var version *process.VersionError
			if w != nil || !errors.As(err, &version) || version.Got == process.ProtocolVersion {
				t.Errorf("Start: got %v, want a *VersionError", err)
			}
			if evidence, err := landedSoon(injury); err != nil || !strings.Contains(evidence, "version 1 -> ") || !injury.Fatal() {
				t.Errorf("landed %q, error %v, fatal %v", evidence, err, injury.Fatal())
			}
		})
	}
}

// A panic of whoever is told of links fails the start alone.
func TestLinksContainAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links := faults.Links{Opened: func(*faults.Link) { panic("no faults today") }}
		cfg := wired()
		cfg.Wrap = links.Wrap
		if _, err := process.Start(t.Context(), cfg, 1); err == nil || !strings.Contains(err.Error(), "no faults today") || len(links.Open()) > 0 {
			t.Errorf("got %v, links %v", err, links.Open())
		}
	})
}

// frameLimit is below the default.
const frameLimit = 1 << 10

// The limit that an oversize length is above is the one that the channel has.
func TestLinksKnowTheFrameLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links := faults.Links{FrameLimit: frameLimit}
		host, remote := net.Pipe()
		link := links.Wrap(1, host)
		injury := links.Of(1).Inject(faults.FrameFault{Kind: faults.FrameOversize, Direction: faults.FromWorker, Rand: rand.New(rand.NewPCG(1, 1))})
		go remote.Write([]byte(one))
		_, err := process.NewFrameReader(link, frameLimit).Next()
		if !errors.Is(err, process.ErrFrameTooLarge) {
			t.Errorf("got %v", err)
		}
		if evidence, err := landedSoon(injury); err != nil || !strings.Contains(evidence, "limit 1024") {
			t.Errorf("landed %q, error %v", evidence, err)
		}
		link.Close()
		remote.Close()
	})
}
