package lang_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/sched"
	"github.com/poolproof/poolproof/sched/shim/lang"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// choose is a select over the channels, with a default, as the rewriter writes it.
func choose(a, b chan int) int {
	onA, onB := lang.OnReceive(a), lang.OnReceive(b)
	return lang.Select(true, func(kill <-chan struct{}) int {
		select {
		case onA.V, onA.OK = <-onA.C:
			return 0
		case onB.V, onB.OK = <-onB.C:
			return 1
		case <-kill:
			return lang.Killed
		default:
			return lang.Default
		}
	}, onA, onB)
}

// Each case that is ready is chosen in one schedule, and there are no others.
func TestSelectChoosesEachReadyCaseOnce(t *testing.T) {
	for _, c := range []struct {
		ready []bool
		want  []int
	}{
		{[]bool{false, false}, []int{lang.Default}},
		{[]bool{true, false}, []int{0}},
		{[]bool{false, true}, []int{1}},
		{[]bool{true, true}, []int{0, 1}},
	} {
		var got []int
		report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, -1, 0, func(*sched.Scheduler) error {
			channels := []chan int{make(chan int, 1), make(chan int, 1)}
			for i, ready := range c.ready {
				if ready {
					channels[i] <- i
				}
			}
			got = append(got, choose(channels[0], channels[1]))
			return nil
		})
		// With one ready, whether an earlier one is ready too shows only when it is tried first.
		got = slices.Compact(slices.Sorted(slices.Values(got)))
		if !slices.Equal(got, c.want) || !report.Complete || report.Runs > 2 || report.Runs > 1 && !c.ready[0] {
			t.Errorf("ready %v: chosen %v in %d schedules, want %v", c.ready, got, report.Runs, c.want)
		}
	}
}

func TestChannelsBetweenTasks(t *testing.T) {
	outcomes := map[string]bool{}
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, 2, 0, func(s *sched.Scheduler) error {
		c := make(chan int)
		var got []int
		s.Go("a", func() { lang.Send(c)(1) })
		s.Go("b", func() { lang.Send(c)(2) })
		s.Go("c", func() {
			for r := lang.OverChannel(c); r.Next(); {
				if got = append(got, r.V); len(got) == 2 {
					lang.Close(c)
				}
			}
		})
		s.Until("both", func() bool { return len(got) == 2 })
		outcomes[fmt.Sprint(got)] = true
		return nil
	})
	if report.Result != nil || !report.Complete || len(outcomes) != 2 {
		t.Errorf("got %+v, outcomes %v; want both orders", report.Result, outcomes)
	}
}

// What a timer or a context starts is a child of the task that set it, in either order.
func TestTimersAndContexts(t *testing.T) {
	orders := map[string]bool{}
	report := sched.Exhaust(t, sched.Options{IdleTimeOnly: true}, 2, 0, func(s *sched.Scheduler) error {
		var got []string
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		lang.ContextAfterFunc(ctx, func() { got = append(got, "context "+sched.Here().Name()) })
		stop := lang.ContextAfterFunc(ctx, func() { got = append(got, "stopped") })
		lang.AfterFunc(time.Second, func() { got = append(got, "timer "+sched.Here().Name()) })
		if !stop() {
			return errors.New("it was not stopped")
		}
		lang.AfterFunc(time.Second, cancel)
		lang.Sleep(2 * time.Second)
		s.Rest()
		orders[strings.Join(got, ", ")] = true
		return nil
	})
	if report.Result != nil || !orders["timer 1.3, context 1.1"] || !orders["context 1.1, timer 1.3"] || len(orders) != 2 {
		t.Errorf("got %+v, orders %v", report.Result, orders)
	}
}

// The order of a map is the same with the same choices, and each order is a choice.
func TestMapsHaveAnOrder(t *testing.T) {
	orders := map[string]bool{}
	body := func(out *string) func(*sched.Scheduler) error {
		return func(*sched.Scheduler) error {
			type pointers struct {
				p *int
				x any
			}
			m := map[pointers]int{}
			for i := range 8 {
				m[lang.Key(pointers{new(int), i})] = i
			}
			for r := lang.OverMap(m); r.Next(); {
				*out += fmt.Sprint(r.V)
				delete(m, r.K)
			}
			return nil
		}
	}
	for range 10 {
		out := ""
		sched.Test(t, sched.Options{Strategy: sched.NewReplay(nil)}, body(&out))
		if out != "01234567" {
			t.Errorf("without a choice: %s, want the order of insertion", out)
		}
	}
	for i := range 10 {
		first, again := "", ""
		r := sched.Test(t, sched.Options{Strategy: sched.Random(1)(i)}, body(&first))
		sched.Test(t, sched.Options{Strategy: sched.NewReplay(r.Schedule)}, body(&again))
		if first != again {
			t.Errorf("%s, with the same choices %s", first, again)
		}
		orders[first] = true
	}
	if len(orders) < 5 {
		t.Errorf("orders: %v, want several", orders)
	}
}

func TestOutsideARun(t *testing.T) {
	a, b := make(chan int, 1), make(chan int)
	lang.Send(a)(1)
	if got := choose(a, b); got != 0 {
		t.Errorf("select: %d, want 0", got)
	}
	if got := choose(a, b); got != lang.Default {
		t.Errorf("select: %d, want the default", got)
	}
	lang.Go(func() { lang.Send(b)(2); lang.Close(b) })
	sum := 0
	for r := lang.OverChannel(b); r.Next(); {
		sum += r.V
	}
	done := make(chan bool)
	lang.AfterFunc(time.Microsecond, func() { close(done) })
	lang.Receive(done)
	lang.Sleep(time.Microsecond)
	lang.Gosched()
	for r := lang.OverMap(map[string]int{"a": 3}); r.Next(); {
		sum += r.V
	}
	if _, ok := lang.Receive2(b); ok || sum != 5 {
		t.Errorf("open %v, sum %d; want closed, 5", ok, sum)
	}
}
