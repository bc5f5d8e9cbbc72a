package props

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// Finding is what [Hunt] found.
type Finding struct {
	Subtest string // "" if nothing was found
	Rule    string // the broken rule's number
	Message string // what is wrong
	Checks  int    // how many checks passed before
	Length  int    // how many operations the shrunk script has
	Script  string

	Preemptions  int  // of the shrunk schedule, if the subtest is Scheduled
	Instrumented bool // HuntTarget: the pool has scheduling points of its own
}

// Hunt runs the subtests of VerifyPool on a pool that is expected to be wrong, one after
// the other, until one finds something, and returns that; t does not fail. Each does up to
// checks checks. It sets rapid's flags for the time being: no test may run in parallel.
func Hunt(t *testing.T, target PoolTarget, checks int) Finding {
	t.Helper()
	defer fullSetFlags(map[string]string{
		"rapid.checks":     strconv.Itoa(checks),
		"rapid.nofailfile": "true",
		"rapid.shrinktime": "5s",
	})()
	for _, property := range fullProperties() {
		tb := &fullRecorder{name: t.Name() + "/" + property.name}
		done, judge, broken := tb.check(t, &target, property)
		if broken == nil {
			continue
		}
		if errors.Is(broken, errFullOpen) {
			t.Fatal(broken)
		}
		message, _, _ := strings.Cut(broken.Error(), "\n")
		return Finding{
			Subtest: property.name, Rule: fullRule(broken), Message: message, Checks: done,
			Length: judge.length(), Script: judge.report(),
		}
	}
	return Finding{}
}

// fullSetFlags sets flags and returns what sets them back.
func fullSetFlags(values map[string]string) (restore func()) {
	old := map[string]string{}
	for name, value := range values {
		f := flag.Lookup(name)
		if f == nil {
			continue
		}
		old[name] = f.Value.String()
		_ = f.Value.Set(value)
	}
	return func() {
		for name, value := range old {
			_ = flag.Lookup(name).Value.Set(value)
		}
	}
}

// fullRecorder is a rapid.TB that may fail without harm.
type fullRecorder struct {
	name string

	mu     sync.Mutex
	failed bool
	log    strings.Builder
}

// fullStop is what FailNow and SkipNow panic with.
type fullStop struct{}

var _ rapid.TB = (*fullRecorder)(nil)

// check runs a property against the recorder.
func (r *fullRecorder) check(bubbles *testing.T, target *PoolTarget, property fullProperty) (done int, last fullJudge, broken error) {
	found := &fullFound{}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(fullStop{}) {
				panic(p)
			}
		}()
		target.check(bubbles, r, property, found)
	}()
	if found.err == nil && r.failed {
		bubbles.Fatalf("%s fails without a finding:\n%s", r.name, r.log.String())
	}
	return found.done, found.judge, found.err
}

func (r *fullRecorder) note(failed bool, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || failed
	r.log.WriteString(text + "\n")
}

func (r *fullRecorder) Helper()                           {}
func (r *fullRecorder) Name() string                      { return r.name }
func (r *fullRecorder) Logf(format string, args ...any)   { r.note(false, fmt.Sprintf(format, args...)) }
func (r *fullRecorder) Log(args ...any)                   { r.note(false, fmt.Sprint(args...)) }
func (r *fullRecorder) Skipf(format string, args ...any)  { r.Logf(format, args...); r.SkipNow() }
func (r *fullRecorder) Skip(args ...any)                  { r.Log(args...); r.SkipNow() }
func (r *fullRecorder) SkipNow()                          { panic(fullStop{}) }
func (r *fullRecorder) Errorf(format string, args ...any) { r.note(true, fmt.Sprintf(format, args...)) }
func (r *fullRecorder) Error(args ...any)                 { r.note(true, fmt.Sprint(args...)) }
func (r *fullRecorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); r.FailNow() }
func (r *fullRecorder) Fatal(args ...any)                 { r.Error(args...); r.FailNow() }
func (r *fullRecorder) FailNow()                          { r.note(true, "FailNow"); panic(fullStop{}) }
func (r *fullRecorder) Fail()                             { r.note(true, "Fail") }

func (r *fullRecorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
