package process_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

const (
	// trialVariable marks a trial's host and all of its descendants.
	trialVariable = "POOLPROOF_TEST_TRIAL"
	// roundsVariable and seedVariable set how many hosts are killed, and when.
	roundsVariable = "POOLPROOF_ORPHAN_ROUNDS"
	seedVariable   = "POOLPROOF_ORPHAN_SEED"

	fewRounds = 4               // when nobody asks for more
	goneAfter = 2 * time.Second // asked of a long trial, on a machine of its own
)

// identity is a process that cannot be mistaken for a later one of its number.
type identity struct {
	pid   int
	begun string // in ticks since the machine's start
	role  string
}

// identify returns the identity of a process that is there and no zombie.
func identify(pid int) (identity, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if fields[0] == "Z" || fields[0] == "X" {
		return identity{}, false
	}
	return identity{pid: pid, begun: fields[19]}, true
}

// marked returns the processes of a trial, found by the mark in their environment.
func marked(t *testing.T, mark string) (all []identity) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(files) == 0 {
		t.Fatalf("no processes in /proc: %v", err)
	}
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environment, []byte(trialVariable+"="+mark+"\x00")) {
			continue // another's, a zombie, or just gone
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if id, ok := identify(pid); ok {
			for variable := range bytes.SplitSeq(environment, []byte{0}) {
				if role, ok := bytes.CutPrefix(variable, []byte(roleVariable+"=")); ok {
					id.role = string(role)
				}
			}
			all = append(all, id)
		}
	}
	return all
}

// survivors returns those of the processes that are alive, and any other of the trial.
func survivors(t *testing.T, mark string, known []identity) []identity {
	t.Helper()
	alive := marked(t, mark)
	for _, k := range known {
		now, ok := identify(k.pid)
		if ok && now.begun == k.begun && !slices.ContainsFunc(alive, func(a identity) bool { return a.pid == k.pid }) {
			alive = append(alive, k)
		}
	}
	return alive
}

// TestSurvivorsAreFound shows that the trial would notice a process left behind.
func TestSurvivorsAreFound(t *testing.T) {
	checkLeftovers(t)
	for _, mark := range []string{"survivor", ""} { // found by the mark, and by identity alone
		left := exec.Command(self())
		left.Env = []string{roleVariable + "=sleeper", trialVariable + "=" + mark}
		if err := left.Start(); err != nil {
			t.Fatal(err)
		}
		known, ok := identify(left.Process.Pid)
		if !ok {
			t.Error("a process that was just started is not there")
		}
		eventually(t, "the process left behind is found", func() bool {
			return slices.ContainsFunc(survivors(t, "survivor", []identity{known}), func(s identity) bool { return s.pid == known.pid })
		})
		left.Process.Kill()
		left.Wait()
		if found := survivors(t, "survivor", []identity{known}); len(found) > 0 {
			t.Errorf("found %v, want nobody", found)
		}
	}
}

// playTrialWorker is a worker that starts processes which are killed when it dies.
func playTrialWorker(methods map[string]worker.Method) {
	methods["child"] = worker.Func(func(context.Context, struct{}) (int, error) {
		child := exec.Command(self())
		child.Env = []string{roleVariable + "=sleeper", trialVariable + "=" + os.Getenv(trialVariable)}
		child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		started := make(chan error)
		go func() {
			runtime.LockOSThread() // for ever: the signal is sent when the thread ends
			started <- child.Start()
			select {}
		}()
		if err := <-started; err != nil {
			return 0, err
		}
		return child.Process.Pid, nil
	})
	worker.Main(methods)
}

// playTrialHost uses two pools, one of them forked, until it is killed. It tells of each
// change on standard output.
func playTrialHost() {
	var mu sync.Mutex
	observer := func(e pool.Event) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(e.Kind)
	}
	server, err := process.NewForkServer(process.ForkConfig{
		Command: []string{self()},
		Env:     []string{roleVariable + "=forker", forkedVariable + "=trial-worker", trialVariable, raceVariable},
	})
	if err != nil {
		panic(err)
	}
	plain := roleConfig("trial-worker")
	plain.Env = append(plain.Env, trialVariable)
	for _, cfg := range []process.Config{plain, {Fork: server}} {
		p, err := process.NewPool(cfg, pool.Config[*process.Worker]{MinSize: 2, MaxSize: 4, Observer: observer})
		if err != nil {
			panic(err)
		}
		for range 3 {
			go useInTrial(p)
		}
	}
	select {}
}

// useInTrial is a client: it calls, has workers start children, and costs some their life.
func useInTrial(p *pool.Pool[*process.Worker]) {
	ctx := context.Background()
	for {
		lease, err := p.Acquire(ctx)
		if err != nil {
			continue
		}
		w := lease.Worker()
		switch n := rand.IntN(20); {
		case n == 0:
			lease.Discard(nil)
			continue
		case n < 3:
			w.Call(ctx, "child", nil, nil)
		case n < 10:
			w.Call(ctx, "echo", "x", nil)
		default:
			w.Call(ctx, "sleep", map[string]float64{"seconds": 0.01}, nil)
		}
		lease.Release()
	}
}

// trial is what came of a trial so far.
type trial struct {
	processes, starting, leased, grandchildren int // that the killed hosts had
	longest                                    time.Duration
}

// TestKilledHostsLeaveNobody kills hosts at random moments of their life. A long trial is
//
//	POOLPROOF_ORPHAN_ROUNDS=200 go test ./pool/process -run KilledHostsLeaveNobody -v
func TestKilledHostsLeaveNobody(t *testing.T) {
	checkLeftovers(t)
	rounds, within := fewRounds, patience
	if text := os.Getenv(roundsVariable); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil || rounds < 1 {
			t.Fatalf("%s is %q; it must be a positive number", roundsVariable, text)
		}
		within = goneAfter
	}
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("moments drawn by %s=%d", seedVariable, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var sum trial
	for round := range rounds {
		sum.round(t, fmt.Sprintf("%d-%d-%d", os.Getpid(), seed, round), random, within)
	}
	t.Logf("%d hosts killed; they had %d descendants: %d grandchildren, %d workers starting, %d leased; none left after %v at most",
		rounds, sum.processes, sum.grandchildren, sum.starting, sum.leased, sum.longest)
	if sum.processes < rounds || rounds >= 50 && (sum.starting == 0 || sum.leased == 0 || sum.grandchildren == 0) {
		t.Error("the hosts had too little for this to mean anything")
	}
}

// round starts a host, kills it after so many changes of its pools, and a moment, and waits
// until nobody of it is left.
func (sum *trial) round(t *testing.T, mark string, random *rand.Rand, within time.Duration) {
	t.Helper()
	host := exec.Command(self())
	host.Env = []string{roleVariable + "=trial-host", trialVariable + "=" + mark, raceVariable, "PATH=" + os.Getenv("PATH")}
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	defer host.Wait()
	defer host.Process.Kill()
	counts := make(map[string]int)
	lines := bufio.NewScanner(out)
	for range 1 + random.IntN(200) {
		if !lines.Scan() {
			t.Fatalf("the host has ended: %v", lines.Err())
		}
		counts[lines.Text()]++
	}
	<-time.After(time.Duration(random.IntN(5_000)) * time.Microsecond) // not to wait: to hit any moment
	known := marked(t, mark)
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	host.Wait()
	killed := time.Now()
	sum.processes += len(known) - 1
	for _, k := range known {
		if k.role == "sleeper" {
			sum.grandchildren++
		}
	}
	sum.starting += counts["worker starting"] - counts["worker started"] - counts["worker start failed"]
	sum.leased += counts["lease granted"] - counts["lease ended"]
	for {
		left := survivors(t, mark, known)
		took := time.Since(killed)
		if len(left) == 0 {
			sum.longest = max(sum.longest, took)
			return
		}
		if took > within {
			t.Fatalf("%v after the host was killed %v are left", took, left)
		}
		time.Sleep(time.Millisecond)
	}
}
