package pooltest_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeTB is a test that is allowed to fail.
type fakeTB struct {
	testing.TB // for what is not overridden

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (f *fakeTB) Helper()           {}
func (f *fakeTB) Log(...any)        {}
func (f *fakeTB) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }

func (f *fakeTB) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

// attempt runs body as a test of its own, clean-ups included, and returns its failures.
func attempt(t *testing.T, body func(t testing.TB)) string {
	t.Helper()
	f := &fakeTB{TB: t}
	run := func(step func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			step()
		}()
		<-done
	}
	run(func() { body(f) })
	for _, fn := range slices.Backward(f.cleanups) {
		run(fn)
	}
	return strings.Join(f.failures, "\n")
}

// wantFailure fails unless body fails with a text that contains every one of parts.
func wantFailure(t *testing.T, body func(t testing.TB), parts ...string) {
	t.Helper()
	got := attempt(t, body)
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("failures:\n%s\nwant one with %q", got, part)
		}
	}
}

// wantSuccess fails if body fails.
func wantSuccess(t *testing.T, body func(t testing.TB)) {
	t.Helper()
	if got := attempt(t, body); got != "" {
		t.Errorf("failures:\n%s\nwant none", got)
	}
}
