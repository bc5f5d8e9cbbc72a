package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/pooltest"
)

// programRun is the service as a process of its own.
type programRun struct {
	service
	cmd  *exec.Cmd
	temp string // its directory for temporary files

	read   chan struct{} // closed at the end of its standard error
	mu     sync.Mutex
	stderr strings.Builder // guarded by mu
}

// newProgram starts the service without waiting for anything.
func newProgram(t *testing.T, args ...string) *programRun {
	t.Helper()
	needPython(t)
	pooltest.CheckLeaks(t)
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	p := &programRun{temp: t.TempDir(), read: make(chan struct{})}
	p.service = service{t: t, client: &http.Client{Transport: transport, Timeout: 2 * patience}}
	p.cmd = exec.Command(path, append([]string{"-addr", "127.0.0.1:0", "-workers", "1", "-start", "1m", "-wait", "1m", "-call", "1m"}, args...)...)
	p.cmd.Env = append(os.Environ(), roleVariable+"=1", "TMPDIR="+p.temp, "GORACE=atexit_sleep_ms=0")
	stderr, err := p.cmd.StderrPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil { // the test failed early
			p.cmd.Process.Kill()
			<-p.read
			p.cmd.Wait()
		}
	})
	lines := bufio.NewScanner(stderr)
	addr := make(chan string, 1)
	go func() {
		defer close(p.read)
		for lines.Scan() {
			if url, ok := strings.CutPrefix(lines.Text(), "ready on "); ok {
				addr <- url
			}
			p.mu.Lock()
			p.stderr.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
		}
	}()
	if len(args) > 0 && args[0] == "-corpus" {
		return p // never ready
	}
	select {
	case p.url = <-addr:
	case <-p.read:
		t.Fatalf("the service ended: %s", p.said())
	case <-time.After(patience):
		t.Fatalf("the service is not ready: %s", p.said())
	}
	return p
}

func (p *programRun) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// terminate sends SIGTERM and waits until no connection is accepted any more.
func (p *programRun) terminate() {
	p.t.Helper()
	p.signal(p.cmd.Process.Pid, syscall.SIGTERM)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			p.t.Fatal("connections are still accepted after SIGTERM")
		}
	}
}

// exit waits for the end, judges the exit code and looks for what is left. A negative code
// stands for an end by signal.
func (p *programRun) exit(code int) {
	p.t.Helper()
	select {
	case <-p.read:
	case <-time.After(patience):
		p.t.Fatalf("the service does not end: %s", p.said())
	}
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d: %s", got, code, p.said())
	}
	if left, err := filepath.Glob(filepath.Join(p.temp, "*")); err != nil || code >= 0 && len(left) > 0 {
		p.t.Errorf("left behind: %q, %v", left, err)
	}
}

// gone waits until a worker is.
func (p *programRun) gone(pid int) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		alive, err := isAlive(pid)
		if err == nil && !alive {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("worker %d outlived the service: %v", pid, err)
		}
	}
}

// stuck stops the worker and makes two requests, of which one waits for the other.
func (p *programRun) stuck() (pid int, requests []<-chan answer) {
	p.t.Helper()
	p.say("c", "hello")
	pid = p.pid()
	p.signal(pid, syscall.SIGSTOP)
	for range 2 {
		requests = append(requests, p.later(context.Background(), "POST", "/conversations/c/messages", hello))
	}
	p.eventually("both requests have come", func(got stats) bool { return got.Pool.Leased == 1 && got.Pool.Waiting == 1 })
	return pid, requests
}

func TestSIGTERMFinishesRunningRequests(t *testing.T) {
	p := newProgram(t, "-grace", "1m")
	pid, requests := p.stuck()
	p.terminate()
	p.signal(pid, syscall.SIGCONT)
	turns := 0
	for _, request := range requests {
		a := p.await(request)
		p.check(a, http.StatusOK, "")
		turns += a.Turn
	}
	if turns != 2+3 {
		t.Errorf("turns add up to %d, want 2 + 3", turns)
	}
	p.exit(0)
	p.gone(pid)
}

func TestSIGTERMWithAStuckWorkerRefusesInTheEnd(t *testing.T) {
	p := newProgram(t, "-grace", "100ms")
	pid, requests := p.stuck()
	p.terminate()
	for _, request := range requests {
		p.check(p.await(request), http.StatusServiceUnavailable, "closing")
	}
	p.exit(1)
	p.gone(pid)
	if !strings.Contains(p.said(), "leases revoked on workers [1]") {
		t.Errorf("it does not say what it had to do: %s", p.said())
	}
}

func TestSecondSIGTERMEndsAtOnce(t *testing.T) {
	p := newProgram(t, "-grace", "1h")
	pid, requests := p.stuck()
	p.terminate()
	p.signal(p.cmd.Process.Pid, syscall.SIGTERM)
	p.exit(-1)
	p.gone(pid)
	for _, request := range requests {
		p.await(request)
	}
}

func TestSIGTERMWhileStarting(t *testing.T) {
	corpus := filepath.Join(t.TempDir(), "corpus")
	if err := syscall.Mkfifo(corpus, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, "-corpus", corpus)
	fifo, err := os.OpenFile(corpus, os.O_WRONLY, 0) // blocks until a worker reads
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	p.signal(p.cmd.Process.Pid, syscall.SIGTERM)
	p.exit(0)
}

func TestServiceThatCannotStartSaysWhy(t *testing.T) {
	corpus := filepath.Join(t.TempDir(), "corpus")
	if err := os.WriteFile(corpus, []byte("a\tred\nno tab\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, "-corpus", corpus)
	p.exit(1)
	if want := "line 2 of the corpus is not a label, a tab and a text: 'no tab'"; !strings.Contains(p.said(), want) {
		t.Errorf("got %s\nwant something with %s", p.said(), want)
	}
}

func TestAddressInUse(t *testing.T) {
	needPython(t)
	pooltest.CheckLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var stderr strings.Builder
	if code := run([]string{"-addr", listener.Addr().String()}, &stderr); code != 1 || !strings.Contains(stderr.String(), "in use") {
		t.Errorf("code %d, %s", code, stderr.String())
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"-h"}, 0, []string{"-workers"}},
		{[]string{"-nonsense"}, 2, []string{"nonsense"}},
		{[]string{"-workers", "0", "-call", "-1s", "more"}, 2, []string{"-workers is 0", "-call is -1s", `"more"`}},
		{[]string{"-queue", "-1", "-ttl", "-1s"}, 1, []string{"MaxWaiters is -1", "SessionTTL is -1s"}},
	} {
		var stderr strings.Builder
		if code := run(c.args, &stderr); code != c.code {
			t.Errorf("%q: code %d, want %d: %s", c.args, code, c.code, stderr.String())
		}
		for _, text := range c.says {
			if !strings.Contains(stderr.String(), text) {
				t.Errorf("%q: %s\nwant something with %s", c.args, stderr.String(), text)
			}
		}
	}
}
