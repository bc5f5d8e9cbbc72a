package props

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func chanTarget(size int) Target {
	return Target{
		Name: "chan", Capacity: size, Spec: Spec{HookPanics: true},
		Open: func(env *Env) (Pool, error) { return newChanPool(env, size), nil },
	}
}

// The correct pools pass: a false alarm is worse than a miss.
func TestChanPool(t *testing.T) { Verify(t, chanTarget(2)) }

func TestTinyPool(t *testing.T) {
	for _, size := range []int{1, 2, 3} {
		t.Run(string(rune('0'+size)), func(t *testing.T) { Verify(t, tinyTarget(size, tinyCorrect)) })
	}
}

// hunt looks for a finding in all profiles in turn, for at most that many rounds, and
// returns it shrunk, with how many checks it took.
func hunt(t *testing.T, target Target, rounds int) (found *genFinding, where string, checks int) {
	t.Helper()
	if err := target.check(); err != nil {
		t.Fatal(err)
	}
	for range rounds {
		for _, p := range genProfiles() {
			v := newGenVerifier(t, target)
			f, _, ran, _ := v.search(t, p)
			checks += ran
			if f == nil {
				continue
			}
			if f = v.shrink(t, f); f.seen == f.tried { // else look for one that is surer
				return f, p.name, checks
			}
		}
	}
	return nil, "", checks
}

// control is a planted fault and the rules that it breaks, each with the number of lines
// of the shortest script that shows it.
type control struct {
	name  string
	bug   tinyBug
	rules map[string]int
}

func controls() []control {
	return []control{
		{"cancelled acquire leaks its slot", tinyCancelLeaks, map[string]int{"I5": 3, "I13": 0}},
		{"failed create wakes nobody", tinyLostWakeup, map[string]int{"I5": 5}},
		{"create beyond the capacity", tinyOverCapacity, map[string]int{"I2": 3}},
		{"destroyed twice", tinyDestroyTwice, map[string]int{"I3": 2}},
		{"close strands waiters", tinyCloseStrands, map[string]int{"I13": 4, "livelock": 3}},
		{"discarded resource granted", tinyDoubleGrant, map[string]int{"I3": 2}},
		{"reset misses a running create", tinyResetCreating, map[string]int{"reset": 3}},
		{"close misses a running create", tinyCloseCreating, map[string]int{"I13": 2}},
		{"growth wakes nobody", tinyResizeSleeps, map[string]int{"I5": 4}},
		{"panic keeps the slot", tinyPanicKeeps, map[string]int{"I5": 2, "I13": 3}},
		{"done context takes", tinyDoneTakes, map[string]int{"I6": 2}},
		{"last come, first served", tinyLIFO, map[string]int{"I7": 4}},
		{"counts go wrong", tinyMiscount, map[string]int{"I15": 0}},
	}
}

// target hides the pool's own counts, where they are not what is wrong, so that only what
// happens can show the fault.
func (c *control) target() Target {
	target := tinyTarget(2, c.bug)
	if c.bug != tinyMiscount {
		target.Open = func(env *Env) (Pool, error) { return bareTiny{newTinyPool(env, 2, c.bug)}, nil }
	}
	return target
}

// Each planted fault is caught, for the right reason, by a script that is seen at every
// replay and has at most one line more than a shortest one: what was found may lack the
// word that would save it. The scripts found are logged.
func TestControls(t *testing.T) {
	for _, c := range controls() {
		t.Run(c.name, func(t *testing.T) {
			target := c.target()
			f, where, checks := hunt(t, target, 30)
			if f == nil {
				t.Fatalf("not found in %d checks", checks)
			}
			t.Logf("after %d checks, in %s; %d lines, seen in %d of %d\n%s", checks, where, len(f.ops), f.seen, f.tried, f.script(target.Name))
			shortest, ok := c.rules[f.violation.Rule]
			if !ok || len(f.ops) > shortest+1 || f.seen < f.tried {
				t.Errorf("got %v in %d lines, seen in %d of %d; want one of these rules in at most one line more, always: %v",
					f.violation, len(f.ops), f.seen, f.tried, c.rules)
			}
		})
	}
}

// bareTiny hides Counts and Waiting.
type bareTiny struct{ bareMethods }

type bareMethods interface {
	Pool
	TryAcquirer
	Creator
	Resizer
	Resetter
}

// The tests named TestInChild run in a child process only, where they are to fail.
const childEnv = "POOLPROOF_TEST_CHILD"

func childOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(childEnv) == "" {
		t.Skip("runs in a child process")
	}
}

func TestInChildBroken(t *testing.T) {
	childOnly(t)
	Verify(t, tinyTarget(2, tinyResizeSleeps))
}

func TestInChildCorrect(t *testing.T) {
	childOnly(t)
	Verify(t, tinyTarget(2, tinyCorrect))
}

// TestInChildSlow takes about a millisecond of real time a check, on any machine.
func TestInChildSlow(t *testing.T) {
	childOnly(t)
	target := tinyTarget(2, tinyCorrect)
	target.Open = func(env *Env) (Pool, error) {
		millisecond := syscall.NsecToTimespec(1e6)
		_ = syscall.Nanosleep(&millisecond, nil) // a signal may cut it short
		return newTinyPool(env, 2, tinyCorrect), nil
	}
	Verify(t, target)
}

func TestInChildIdle(t *testing.T) {
	childOnly(t)
	v := newGenVerifier(t, chanTarget(2))
	v.enough(t, genTraffic{runs: 100, calls: 500, grants: 300, waits: 10}, false)
}

// child runs one of the tests above in a directory and returns what it printed.
func child(t *testing.T, dir, test string, flags ...string) (string, bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, append([]string{"-test.run=" + test, "-test.v"}, flags...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// A failing Verify says what is broken and how to replay it, keeps the script, and
// replays it ever after.
func TestVerifyReports(t *testing.T) {
	dir := t.TempDir()
	out, ok := child(t, dir, "^TestInChildBroken$", "-rapid.checks=1000")
	if ok {
		t.Fatalf("Verify passed a broken pool:\n%s", out)
	}
	for _, want := range []string{
		"tiny-9 breaks I5: ", "target tiny-9\n", " resize ", "and then nothing for 1m0s",
		"go test -run '^TestInChildBroken$/^Replay$/^tiny-9-I5-", "5 of 5 replays",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, genTraces, "*.txt"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("no script kept: %v, %v", kept, err)
	}
	if out, ok = child(t, dir, "^TestInChildBroken$/^Replay$"); ok || !strings.Contains(out, "breaks I5: ") {
		t.Errorf("a kept script was not replayed:\n%s", out)
	}
}

// Checks that do not run fail: rapid itself would say OK.
func TestVerifyCountsChecks(t *testing.T) {
	dir := t.TempDir()
	out, ok := child(t, dir, "^TestInChildSlow$/^Sequential$", "-rapid.checks=30000", "-test.timeout=4s")
	if ok || !strings.Contains(out, " of 30000 checks ran") {
		t.Errorf("stopped early: got success %v:\n%s", ok, out)
	}
	out, ok = child(t, dir, "^TestInChildCorrect$/^Sequential$", "-rapid.checks=100", "-test.short")
	if !ok || !strings.Contains(out, " 100 runs: ") {
		t.Errorf("-short with a number given: got success %v:\n%s", ok, out)
	}
	if out, ok = child(t, dir, "^TestInChildCorrect$/^Sequential$", "-test.short"); !ok {
		t.Errorf("-short alone: failed:\n%s", out)
	}
}

// Too little traffic fails.
func TestVerifyWantsTraffic(t *testing.T) {
	if out, ok := child(t, t.TempDir(), "^TestInChildIdle$"); ok || !strings.Contains(out, "too little traffic to prove anything, no cancels") {
		t.Errorf("no cancels: got success %v:\n%s", ok, out)
	}
}

// A target that makes no sense is refused.
func TestTargetCheck(t *testing.T) {
	if err := (&Target{}).check(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("an empty target: got %v, want three complaints", err)
	}
	target := tinyTarget(2, tinyCorrect)
	target.Known = []string{"I1", "I18", "panic", "I0", "I19", "I05", "i5", "Panic", ""}
	if err := target.check(); err == nil || strings.Count(err.Error(), " is no rule; want I1 to I18, panic, ") != 6 {
		t.Errorf("rules: got %v, want six complaints", err)
	}
}
