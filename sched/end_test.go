package sched_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/poolproof/poolproof/sched"
)

const endlessEnv = "POOLPROOF_TEST_ENDLESS"

// Goroutines that start another one as they are ended are not followed for ever: the
// finding is reported, and those that are left. That leaves one for good, so a child does it.
func TestEndsThatStartOthersAreBounded(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestInChildEndless$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), endlessEnv+"=1")
	out, _ := cmd.CombinedOutput() // it fails for what is left
	if !strings.Contains(string(out), "--- PASS: TestInChildEndless") {
		t.Errorf("the run was not bounded, or not reported:\n%.4000s", out)
	}
}

// TestInChildEndless is for a child process.
func TestInChildEndless(t *testing.T) {
	if os.Getenv(endlessEnv) == "" {
		t.Skip("runs in a child process")
	}
	hooks := 0
	var r *sched.Result
	func() {
		defer func() { _ = recover() }() // the bubble says that goroutines are left
		synctest.Test(t, func(*testing.T) {
			r = sched.Run(sched.Options{Strategy: sched.NewReplay(nil)}, func(s *sched.Scheduler) error {
				var hook func()
				hook = func() {
					hooks++
					answered := false
					defer func() {
						if !answered {
							go hook()
						}
					}()
					s.Until("the answer", func() bool { return false })
					answered = true
				}
				go hook()
				s.Rest()
				return errors.New("wrong")
			})
		})
	}()
	if r == nil || r.Finding == nil || r.Finding.Message != "wrong" || len(r.Left) == 0 {
		t.Errorf("got %+v after %d hooks, want the finding and who is left", r, hooks)
	}
	if hooks < 100 || hooks > 10_000 {
		t.Errorf("%d hooks were called, want some, but not for ever", hooks)
	}
}
