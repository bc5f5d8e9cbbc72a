package sched_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/poolproof/poolproof/sched"
)

// A stock of one is sold twice if a buyer is preempted between looking and taking. Here
// the points are placed by hand; 'poolproof test -instrument' places them everywhere.
func Example() {
	sell := func(s *sched.Scheduler) error {
		stock, sold := 1, 0
		buy := func() {
			if stock > 0 {
				sched.Point("take")
				stock--
				sold++
			}
		}
		s.Go("ann", buy)
		s.Go("bob", buy)
		s.Rest()
		if sold > 1 {
			return errors.New("sold more than there was")
		}
		return nil
	}
	testStock := func(t *testing.T) {
		report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, 1, 0, sell)
		fmt.Println(report.Result.Finding)
		fmt.Println("schedule:", report.Result.Schedule)
		for _, step := range report.Result.Trace.Steps() {
			if step.Task > 0 {
				fmt.Println(report.Result.Trace.Tasks()[step.Task], step.Text)
			}
		}
	}
	every := func(string, string) (bool, error) { return true, nil }
	testing.RunTests(every, []testing.InternalTest{{Name: "TestStock", F: testStock}})
	// Output:
	// failed: sold more than there was
	// schedule: 1:1
	// ann starts
	// bob starts
	// bob take
	// ann take
}
