package linearize

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated histories of testdata anew")

const testdata = "../testdata/histories"

// files returns the histories kept in a folder.
func files(t *testing.T, folder string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(testdata, folder, "*.jsonl*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 30 {
		t.Errorf("%d histories in %s, want 30 or more", len(names), folder)
	}
	return names
}

// TestGoodHistories: no history of a sound pool is called wrong, by the judges or by porcupine.
func TestGoodHistories(t *testing.T) {
	if *update {
		writeGood(t)
	}
	for _, name := range files(t, "good") {
		h, err := ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if v := Judge(t.Context(), h, Budget{}); v.Result != Ok {
			t.Errorf("%s: %s", name, &v)
		}
		if v := VerifyAffinity(t.Context(), h, Budget{}); v.Result != Ok {
			t.Errorf("%s: sessions: %s", name, &v)
		}
		if p := plain(h, 20_000); p == Illegal {
			t.Errorf("%s: porcupine says %s", name, p)
		}
	}
}

// TestBadHistories: every history of a broken pool is called wrong, for the rule that its
// name begins with, and so is what Minimise leaves of it.
func TestBadHistories(t *testing.T) {
	if *update {
		writeBad(t)
	}
	judges := map[string]int{}
	for _, name := range files(t, "bad") {
		h, err := ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		v := Judge(t.Context(), h, Budget{})
		rule, _, _ := strings.Cut(filepath.Base(name), "-")
		if v.Result != Illegal || v.Rule != rule {
			t.Errorf("%s: %s, want %s broken", name, &v, rule)
			continue
		}
		judges[v.Judge]++
		small, again := Minimise(t.Context(), h, v, Budget{})
		if again.Result != Illegal || again.Rule != rule || len(small.Ops) > len(h.Ops) {
			t.Errorf("%s: cut to %d of %d ops: %s", name, len(small.Ops), len(h.Ops), &again)
		}
		if p := plain(h, 20_000); p == Ok && len(h.Changes) == 0 && !v.tokens() {
			t.Errorf("%s: porcupine says %s", name, p)
		}
	}
	for _, judge := range []string{"witness", "partition", "affinity", "search"} {
		if judges[judge] == 0 {
			t.Errorf("no bad history is found by %s: %v", judge, judges)
		}
	}
}

func writeGood(t *testing.T) {
	for seed := range uint64(36) {
		ops := 40
		if seed%9 == 0 {
			ops = 1500
		}
		name := fmt.Sprintf("drawn-%02d.jsonl", seed)
		if ops > 40 {
			name += ".gz"
		}
		cfg := drawConfig(1000+seed, ops)
		h := simulate(cfg)
		if err := WriteFile(filepath.Join(testdata, "good", name), h); err != nil {
			t.Fatal(err)
		}
	}
}

// writeBad keeps, of every fault and every edit, the first few histories that it makes wrong.
func writeBad(t *testing.T) {
	keep := func(name string, n, seed uint64, h *History) uint64 {
		v := Judge(t.Context(), h, Budget{})
		if v.Result != Illegal {
			return n
		}
		file := fmt.Sprintf("%s-%s-%d.jsonl", v.Rule, name, seed)
		if len(h.Ops) > 200 {
			file += ".gz"
		}
		if err := WriteFile(filepath.Join(testdata, "bad", file), h); err != nil {
			t.Fatal(err)
		}
		return n + 1
	}
	for _, f := range simFaults {
		for seed, n := uint64(0), uint64(0); n < 3 && seed < 3000; seed++ {
			ops := 40
			if n == 2 {
				ops = 800
			}
			cfg := drawConfig(seed, ops)
			cfg.fault, cfg.faultAt = f, 0.5
			n = keep(string(f), n, seed, simulate(cfg))
		}
	}
	for _, m := range mutations {
		for seed, n := uint64(0), uint64(0); n < 1 && seed < 3000; seed++ {
			h := simulate(drawConfig(seed, 40))
			if m.do(h, randOf(seed)) && checkForm(h) == nil {
				n = keep(m.name, n, seed, h)
			}
		}
	}
}

// TestUnansweredCalls: a wrong history of 400 operations with seven calls that have no
// answer is judged within a bound on the steps.
func TestUnansweredCalls(t *testing.T) {
	t.Parallel()
	wrong := 0
	for seed := range uint64(40) {
		cfg := simConfig{
			seed: seed, ops: 400, clients: 16, unanswered: 7, tries: true,
			Config: Config{Capacity: 8, FullOnly: true}, faultAt: 0.7, fault: simDoubleGrant,
		}
		h := simulate(cfg)
		open := 0
		for i := range h.Ops {
			if h.Ops[i].Outcome == NoAnswer {
				open++
			}
		}
		if open != 7 {
			continue
		}
		v := Judge(t.Context(), h, Budget{})
		if v.Result == Illegal {
			wrong++
		}
		t.Logf("seed %d: %d ops, %d without answer: %s in %v", seed, len(h.Ops), open, &v, v.Spent.Elapsed)
		if v.Result == Unknown {
			t.Errorf("seed %d: %s", seed, &v)
		}
	}
	if wrong == 0 {
		t.Error("no wrong history was judged")
	}
}
