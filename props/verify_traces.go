package props

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/sched"
)

// fail reports a finding and keeps its script.
func (v *genVerifier) fail(t *testing.T, f *genFinding) {
	t.Helper()
	note := "To replay it, pass the script to props.Replay."
	if f.racing { // a replay is a matter of chance, and of no use to every run of the test
		t.Fatalf("%s", f.report(v.target.Name, note))
	}
	command := "go test"
	if f.instrumented {
		command = "poolproof test -instrument PACKAGES . --" // nothing in this build knows which they were
		note += " The schedule fits a build with the same packages instrumented."
	}
	if file, err := v.keep(f); err != nil {
		note += fmt.Sprintf(" It could not be kept: %v", err)
	} else if file != "" {
		note = fmt.Sprintf("Kept as %s; every run of the test replays it. To replay it alone, in the package's directory:\n\t%s -run '^%s$/^Replay$/^%s$'",
			file, command, strings.ReplaceAll(regexp.QuoteMeta(v.replay), "/", "$/^"), regexp.QuoteMeta(filepath.Base(file)))
	}
	t.Fatalf("%s", f.report(v.target.Name, note))
}

// genTraces is where scripts are kept, in the directory of the package under test.
const genTraces = "testdata/traces"

// keep writes the script of a finding to the traces; "" if that is not wanted.
func (v *genVerifier) keep(f *genFinding) (string, error) {
	if fl := flag.Lookup("rapid.nofailfile"); fl != nil && fl.Value.String() == "true" {
		return "", nil
	}
	name := regexp.MustCompile(`[^a-zA-Z0-9.]+`).ReplaceAllString(v.target.Name+"-"+f.violation.Rule, "-")
	file := filepath.Join(genTraces, fmt.Sprintf("%s-%.4x.txt", name, sha256.Sum256([]byte(f.plain(v.target.Name)))))
	if err := os.MkdirAll(genTraces, 0o755); err != nil {
		return "", err
	}
	return file, os.WriteFile(file, []byte(f.script(v.target.Name)), 0o644)
}

// traces lists the kept scripts of the target.
func (v *genVerifier) traces(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(genTraces, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var mine []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) == "target "+v.target.Name {
				mine = append(mine, file)
				break
			}
		}
	}
	return mine
}

// replayFile replays a kept script.
func (v *genVerifier) replayFile(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v.replayScript(t, string(text))
}

// replayScript replays a script a few times, for it may leave things open.
func (v *genVerifier) replayScript(t *testing.T, script string) {
	t.Helper()
	s, err := parseScript(script)
	if err != nil {
		t.Fatalf("props: script: %v", err)
	}
	if s.scheduled && v.target.RealTime {
		t.Fatalf("props: the script has a schedule, and %s is checked in real time", v.target.Name)
	}
	var last *genFinding
	seen, times := 0, genSure
	if v.target.RealTime {
		times = 1
	}
	for range times {
		f := v.replayOnce(t, &s)
		if f != nil && f.unfit && !s.scheduled && !v.target.RealTime {
			v.target.RealTime = true
			f = v.replayOnce(t, &s)
		}
		if f != nil {
			last = f
			seen++
		}
	}
	if last != nil {
		last.seen, last.tried = seen, times
		t.Fatalf("%s", last.report(v.target.Name, ""))
	}
}

// replayOnce does what a script says, where runs take place.
func (v *genVerifier) replayOnce(t *testing.T, s *genScript) *genFinding {
	t.Helper()
	if v.far != nil {
		return v.far.replay(t, s)
	}
	f, _ := v.replayHere(t, s, 0)
	return f
}

// replayHere does what a script says in this process. One with a schedule is run under that;
// with tries, if nothing is found, also under none and under so many that are drawn.
func (v *genVerifier) replayHere(t *testing.T, s *genScript, tries int) (*genFinding, genTraffic) {
	t.Helper()
	switch {
	case s.racing:
		return v.replayRace(s)
	case !s.scheduled:
		return v.run(t, replayOps(s.ops))
	}
	defer v.watch()()
	rng := rand.New(rand.NewPCG(1, uint64(len(s.ops))))
	f, total := v.replaySchedule(t, s.ops, sched.NewReplay(s.schedule))
	for try := 0; try < tries && f == nil; try++ {
		var strategy sched.Strategy = &genCalm{inner: sched.NewDrawn(func(_ string, n int) int { return rng.IntN(n) })}
		if try == 0 {
			strategy = sched.NewReplay(nil)
		}
		var traffic genTraffic
		f, traffic = v.replaySchedule(t, s.ops, strategy)
		total.add(traffic)
	}
	return f, total
}

// replaySchedule runs a script's lines under a scheduler.
func (v *genVerifier) replaySchedule(t *testing.T, ops []genOp, strategy sched.Strategy) (*genFinding, genTraffic) {
	t.Helper()
	o := v.schedOptions(strategy)
	o.Positions = true
	f, traffic, result := v.schedule(t, replayOps(ops), o)
	v.instrumented = v.instrumented || result != nil && genInstrumented(result.Trace)
	return f, traffic
}
