package linearize

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

var deep = flag.Int("linearize.deep", 0, "as many drawn histories are held beside porcupine, instead of some hundreds")

// plain is porcupine's verdict on the whole pool, which knows nothing of windows, narrower
// intervals and calls left out; Unknown after so many steps.
func plain(h *History, steps int) Result {
	x := newIndex(h)
	n := 0
	model := x.whole().model(func(context.Context, *state) bool {
		n++
		return n <= steps
	})
	result := porcupine.CheckOperationsTimeout(model, x.whole().operations(), 0)
	switch {
	case n > steps:
		return Unknown
	case result == porcupine.Ok:
		return Ok
	}
	return Illegal
}

// tokens reports whether the verdict is about tokens, of which porcupine is not told.
func (v *Verdict) tokens() bool { return v.why == whyToken || v.why == whyTokenOrder }

// drawConfig returns a pool and its use, all of it from the seed.
func drawConfig(seed uint64, ops int) simConfig {
	rng := rand.New(rand.NewPCG(seed, 3))
	coin := func() bool { return rng.IntN(2) == 0 }
	cfg := simConfig{
		seed: seed, ops: ops, clients: 2 + rng.IntN(6), sessions: rng.IntN(4),
		tries: coin(), cancels: coin(), discards: coin(), ends: coin(), resizes: rng.IntN(4) == 0, closes: rng.IntN(3) == 0,
		longHolds: coin(), prompts: rng.IntN(4) == 0,
	}
	cfg.Capacity = 1 + rng.IntN(3)
	if cfg.sessions > 0 {
		cfg.Affinity = Affinity(rng.IntN(4))
		if cfg.Affinity != None && coin() {
			cfg.SessionTTL = time.Duration(100 + rng.IntN(400))
		}
		cfg.Fresh = coin()
	}
	cfg.FIFO = coin()
	cfg.parked = cfg.FIFO
	if rng.IntN(3) == 0 {
		cfg.MaxWaiters = 1 + rng.IntN(3)
	}
	cfg.FullOnly, cfg.CloseWaits, cfg.NoneAfter, cfg.Config.Ends = coin(), coin(), coin(), coin()
	switch rng.IntN(4) {
	case 0:
		cfg.tokens = true
	case 1:
		cfg.tokens, cfg.seqs = true, true
	case 2:
		cfg.reports = true
	}
	cfg.unanswered = rng.IntN(3)
	return cfg
}

// drawHistory returns a history of a pool that may be broken, and perhaps edited.
func drawHistory(seed uint64) (h *History, what string) {
	rng := rand.New(rand.NewPCG(seed, 5))
	cfg := drawConfig(seed, 20+rng.IntN(30))
	if rng.IntN(3) == 0 {
		cfg.fault, cfg.faultAt = simFaults[rng.IntN(len(simFaults))], rng.Float64()
		what = string(cfg.fault)
	}
	h = simulate(cfg)
	for rng.IntN(2) == 0 {
		m := mutations[rng.IntN(len(mutations))]
		if m.do(h, rng) {
			what += " " + m.name
		}
	}
	return h, what
}

// agreement counts how drawn histories were judged.
type agreement struct{ ok, illegal, unfinished, stricter, unfit int }

// hold judges the history of a seed, perhaps on a coarse clock, both ways and reports a
// disagreement. Of tokens, and of what the pool reports, the judges know more than porcupine
// does, and may be stricter.
func (a *agreement) hold(seed uint64, coarse bool) error {
	h, what := drawHistory(seed)
	if coarse {
		what += " coarse-clock"
		coarsen(h, randOf(seed))
	}
	v := Judge(context.Background(), h, Budget{})
	if v.Judge == "form" {
		a.unfit++
		return nil
	}
	p := plain(h, 300_000)
	switch {
	case p == Unknown:
		a.unfinished++
	case p == Ok && v.Result == Illegal && (len(h.Changes) > 0 || v.tokens()):
		a.stricter++
	case p != v.Result:
		return fmt.Errorf("seed %d (%s): porcupine says %s, the judges say %s\n%+v", seed, what, p, &v, h.Head.Config)
	case p == Ok:
		a.ok++
	default:
		a.illegal++
	}
	return nil
}

func (a *agreement) String() string {
	return fmt.Sprintf("%d ok, %d illegal, 0 disagreements; %d that porcupine did not finish, %d judged by what the pool reported besides, %d that an edit made unfit",
		a.ok, a.illegal, a.unfinished, a.stricter, a.unfit)
}

// TestJudgesAgreeWithPorcupine: on drawn histories, legal and not, the judges say what
// porcupine says of the whole pool.
func TestJudgesAgreeWithPorcupine(t *testing.T) {
	t.Parallel()
	var a agreement
	if *deep > 0 {
		for seed := range uint64(*deep) {
			if err := errors.Join(a.hold(seed, false), a.hold(seed, true)); err != nil {
				t.Error(err)
			}
		}
	} else {
		rapid.Check(t, func(t *rapid.T) {
			for range 5 { // a check of rapid's is a few histories
				if err := a.hold(rapid.Uint64().Draw(t, "seed"), rapid.Bool().Draw(t, "coarse")); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	if a.ok == 0 || a.illegal == 0 {
		t.Errorf("nothing was compared: %s", &a)
	}
	t.Log(&a)
}

// TestJudgesAgreeOnRareHistories: what few drawn histories have: waiters who connect what no
// call does; a close that returns between two leases; and reports that the calls contradict,
// such as of the end of a session in use, of closing before any close was called, of a lease for
// which nobody can have asked, and in another order.
func TestJudgesAgreeOnRareHistories(t *testing.T) {
	t.Parallel()
	var a agreement
	for _, seed := range []uint64{
		16929, 27493, 54602, 65198, 70059, 81573, 83300, 83331, 94094, 96055, 108944, // waiters
		102972,                            // a close
		38730, 43424, 52634, 81494, 49358, // ends, closing
		41251, 47997, 53419, // a lease, the order
	} {
		if err := a.hold(seed, false); err != nil {
			t.Error(err)
		}
	}
	if a.illegal+a.stricter != 20 {
		t.Errorf("want 20 illegal histories: %s", &a)
	}
}

func TestLegalHistoriesAreOk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1000) {
		cfg := drawConfig(seed, 60)
		h := simulate(cfg)
		if v := Judge(t.Context(), h, Budget{}); v.Result != Ok {
			t.Errorf("seed %d: %s\n%+v", seed, &v, cfg)
		}
	}
}
