package linearize

import (
	"flag"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

var large = flag.Int("linearize.ops", 20_000, "length of the large histories")

// largeConfig is a pool of eight workers with 64 clients, most of which wait.
func largeConfig(seed uint64, ops int) simConfig {
	cfg := simConfig{seed: seed, ops: ops, clients: 64, sessions: 200, tries: true, cancels: true, discards: true, ends: true}
	cfg.Config = Config{Capacity: 8, Affinity: Sticky, FullOnly: true, CloseWaits: true, NoneAfter: true, Fresh: true, Ends: true, FIFO: true}
	return cfg
}

// kinds are the ways in which a pool's history may be numbered.
var kinds = []struct {
	name string
	of   func(cfg simConfig) simConfig
}{
	{"reported", func(cfg simConfig) simConfig { cfg.reports = true; return cfg }},
	{"numbered", func(cfg simConfig) simConfig { cfg.tokens, cfg.seqs = true, true; return cfg }},
	{"bare", func(cfg simConfig) simConfig { cfg.cancels = false; return cfg }},
}

// peak runs f and returns the most memory in use meanwhile, in bytes, sampled.
func peak(f func()) uint64 {
	runtime.GC()
	var most uint64
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse+m.StackInuse)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	f()
	close(done)
	group.Wait()
	return most
}

// cpu returns the processor time that the process has used.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestLargeLegalHistories prints what judging takes, from a thousand ops to as many as the
// flag says; docs/histories.md has figures.
func TestLargeLegalHistories(t *testing.T) {
	const plainSteps = 100_000
	for _, k := range kinds {
		for n := 1000; n <= *large; n *= 10 {
			h := simulate(k.of(largeConfig(1, n)))
			var v Verdict
			before := cpu(t)
			most := peak(func() { v = Judge(t.Context(), h, Budget{}) })
			spent := cpu(t) - before
			if v.Result != Ok {
				t.Errorf("%s, %d ops: %s", k.name, n, &v)
			}
			beside := "not tried"
			if n == 1000 {
				beside = plain(h, plainSteps).String()
			}
			t.Logf("%-8s %8d ops, %8d changes: %s in %v (%v of processor), %d MiB in use with the history; porcupine alone, %d steps: %s",
				k.name, len(h.Ops), len(h.Changes), &v, v.Spent.Elapsed.Round(time.Millisecond),
				spent.Round(time.Millisecond), most>>20, plainSteps, beside)
		}
	}
}

// TestLargeBrokenHistories: one planted fault is found, named and cut out. A fault can be
// one that calls without numbers do not show, such as a second grant of a worker whose
// release is under way: of six seeds, one must show it.
func TestLargeBrokenHistories(t *testing.T) {
	for _, f := range []struct {
		fault simFault
		rule  string
		think bool
		shows int // by how many kinds of numbering, from the fullest
	}{
		{simDoubleGrant, "I1", false, 3},
		{simLostBinding, "I8", true, 3},
		{simRefusedFree, "I5", true, 1},
		{simOutOfOrder, "I7", false, 3},
		{simOverCapacity, "I2", false, 2},
		{simToCancelled, "I6", true, 3},
		{simDeadGranted, "I3", false, 3},
	} {
		for _, k := range kinds[:f.shows] {
			var h *History
			var v Verdict
			for seed := uint64(2); seed < 8 && v.Result != Illegal; seed++ {
				cfg := k.of(largeConfig(seed, *large))
				cfg.FIFO = f.fault == simOutOfOrder
				cfg.parked = cfg.FIFO
				if f.think {
					cfg.think = 4000 // so that workers are idle now and then
				}
				cfg.fault, cfg.faultAt = f.fault, 0.5
				cfg.cancels = cfg.cancels || f.fault == simToCancelled
				h = simulate(cfg)
				if v = Judge(t.Context(), h, Budget{}); k.name != "bare" {
					break
				}
			}
			began := time.Now()
			small, again := Minimise(t.Context(), h, v, Budget{})
			t.Logf("%-20s %-8s %8d ops: %s, judged in %v, cut to %d ops in %v", f.fault, k.name, len(h.Ops), &v,
				v.Spent.Elapsed.Round(time.Millisecond), len(small.Ops), time.Since(began).Round(time.Millisecond))
			switch {
			case v.Result != Illegal || v.Rule != f.rule:
				t.Errorf("%s, %s: %s, want %s broken", f.fault, k.name, &v, f.rule)
			case again.Result != Illegal || again.Rule != v.Rule:
				t.Errorf("%s, %s: cut down to another verdict: %s", f.fault, k.name, &again)
			case len(small.Ops) > 50:
				t.Errorf("%s, %s: %d ops are left", f.fault, k.name, len(small.Ops))
			}
		}
	}
}
