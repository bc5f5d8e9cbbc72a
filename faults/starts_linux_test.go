package faults

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process/python"
)

// strict is a pool of one worker, each of whose starts has so long.
func strict(timeout time.Duration) pool.Config[Worker] {
	return pool.Config[Worker]{MaxSize: 1, StartTimeout: timeout}
}

// TestStartsOfProcesses has starts meet each fault, and the pool serve after it.
func TestStartsOfProcesses(t *testing.T) {
	cfg := pythonWorker(t, python.Demo())
	for _, row := range []struct {
		kind, want string
		options    []string
	}{
		{startExit, "exited with code 93", []string{"n=2"}},
		{startFlood, "gate: flood, line 3000", []string{"lines=3000"}},
		{startSlow, "said hello", []string{"delay=200ms"}},
		{startHang, "hangs at the gate, in state S", nil},
		{startCrash, "killed by signal 9", []string{"n=2"}},
	} {
		t.Run(row.kind, func(t *testing.T) {
			cfg := cfg
			w := openWard(t, &cfg, strict(0))
			injury := w.mustInject(row.kind, 0, row.options...)
			served := make(chan pool.WorkerID, 1)
			go func() { served <- w.serves() }()
			w.landed(injury, row.want)
			w.heal(injury)
			select {
			case id := <-served:
				if pid, line := w.process(id).PID(), 0; true {
					if _, err := w.call(func(worker Worker) error { return worker.Call(w.ctx, "pid", nil, &line) }); err != nil || line != pid {
						t.Errorf("it says that it is process %d, error %v; want %d", line, err, pid)
					}
				}
			case <-w.ctx.Done():
				t.Error("the pool does not serve after healing")
			}
		})
	}
}

// TestHangingStartTimesOut has a start hang until the pool gives it up, and the next do well.
func TestHangingStartTimesOut(t *testing.T) {
	cfg := goWorker(t, "demo")
	w := openWard(t, &cfg, strict(3*time.Second))
	hang := w.mustInject(startHang, 0)
	first := make(chan error, 1)
	go func() {
		_, err := w.ask()
		first <- err
	}()
	w.landed(hang, "hangs at the gate")
	var failed *pool.StartError
	if err := <-first; !errors.As(err, &failed) {
		t.Errorf("the first call ends with %v, want a *pool.StartError", err)
	}
	w.serves()
	w.heal(hang)
}

// TestStartsThatMeetNothing: no start comes, or the faults are taken by others.
func TestStartsThatMeetNothing(t *testing.T) {
	cfg := goWorker(t, "demo")
	w := openWard(t, &cfg, one())
	w.serves()
	for _, kind := range []string{startExit, startHang, startSlow, startFlood, startCrash} {
		injury := w.mustInject(kind, 0)
		w.missed(injury, tooShort, "no start has met it")
		w.heal(injury)
	}
	cfg = goWorker(t, "demo")
	cfg.Dial, cfg.Command = nil, []string{"/no/such/program"}
	if _, err := Open(SystemConfig{Name: t.Name(), Layer: Process, Pool: one(), Workers: &cfg}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestEachFaultIsTakenByAsManyStarts has many starts at once share three faults.
func TestEachFaultIsTakenByAsManyStarts(t *testing.T) {
	cfg := goWorker(t, "demo")
	w := openWard(t, &cfg, pool.Config[Worker]{MaxSize: 6})
	injury := w.mustInject(startSlow, 0, "n=3", "delay=10ms")
	leases := make(chan pool.Lease[Worker], 6)
	for range cap(leases) {
		go func() {
			l, err := w.sys.Pool.Acquire(w.ctx)
			if err != nil {
				t.Error(err)
			}
			leases <- l
		}()
	}
	for range cap(leases) {
		defer func(l pool.Lease[Worker]) { l.Release() }(<-leases)
	}
	w.landed(injury, "said hello")
	bases, _ := takers(w.sys.starts.gate.control + "/000001")
	var pids []int
	for _, tk := range bases {
		pids = append(pids, tk.pid)
	}
	slices.Sort(pids)
	if len(slices.Compact(pids)) != 3 {
		t.Errorf("processes %v have taken the fault, want three", pids)
	}
	w.heal(injury)
}

func TestStartsOfFakes(t *testing.T) {
	for kind, want := range map[string]string{
		startExit: "made to fail", startHang: "hangs", startSlow: "said hello after 250ms", startCrash: "said hello and died",
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := openWard(t, nil, one())
				injury := w.mustInject(kind, 0)
				served := make(chan struct{})
				go func() {
					defer close(served)
					w.serves()
				}()
				w.landed(injury, want)
				w.heal(injury)
				<-served
				none := w.mustInject(kind, 0)
				w.missed(none, time.Second, "no start has met it")
				w.heal(none)
				if kind != startHang {
					return
				}
				if _, err := w.inject(startFlood, 0); err == nil {
					t.Error("a flood of a fake is accepted")
				}
			})
		})
	}
}

func TestHarmsOfFakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWard(t, nil, one())
		for kind, want := range map[string]string{"stop": "waits for the frozen fake", "slow": "waits 100ms more"} {
			id := w.serves()
			idle := w.mustInject(kind, id)
			w.missed(idle, time.Second, "nobody has called")
			if _, err := w.inject(kind, id); err == nil {
				t.Errorf("%s twice is accepted", kind)
			}
			w.heal(idle)
			injury := w.mustInject(kind, id)
			served := make(chan pool.WorkerID)
			go func() { served <- w.serves() }()
			w.landed(injury, want)
			w.heal(injury)
			if got := <-served; got != id {
				t.Errorf("worker %d serves, want %d", got, id)
			}
		}
		id := w.serves()
		stop := w.mustInject("stop", id)
		w.landed(w.mustInject("kill", id), "answers nothing")
		w.missed(stop, time.Second, "died before anybody called it")
		w.heal(stop)
		if _, err := w.inject("hog", w.serves()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", Memory)) {
			t.Errorf("hog of a fake: %v", err)
		}
	})
}
