package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/linearize/recorded"
	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// roleVariable makes the test binary, executed again, the service itself.
const roleVariable = "TEXTSERVER_TEST_SERVE"

// patience bounds the waits that a passing test ends much sooner.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		os.Exit(run(os.Args[1:], os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// needPython skips a test without python3; under CI it fails.
func needPython(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// variant is how a service in a test differs from the usual one.
type variant struct {
	change func(*options)                  // nil: nothing
	wrap   func(http.Handler) http.Handler // nil: nothing
}

// service is a running service.
type service struct {
	t      *testing.T
	url    string
	client *http.Client
	texts  *texts
}

// newService runs a service on loopback until the test ends, after which nothing of it may
// be left. It does not wait for the workers.
func newService(t *testing.T, v variant) *service {
	t.Helper()
	needPython(t)
	pooltest.CheckLeaks(t)
	o, err := parse([]string{"-workers", "1", "-start", "1m", "-wait", "1m", "-call", "1m", "-grace", "1m"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if v.change != nil {
		v.change(&o)
	}
	o.open = func(cfg process.Config, poolCfg pool.Config[*process.Worker], meet func(*process.Worker) *process.Worker) (workerPool, error) {
		return recorded.Open(t, poolCfg, func(poolCfg pool.Config[*process.Worker]) (*pool.Pool[*process.Worker], error) {
			p, err := openPool(cfg, poolCfg, meet)
			if err != nil {
				return nil, err
			}
			return p.(*pool.Pool[*process.Worker]), nil
		})
	}
	logger := slog.New(slog.DiscardHandler)
	texts, err := openTexts(t.Context(), o, logger)
	if err != nil {
		t.Fatal(err)
	}
	handler := newServer(texts, logger)
	if v.wrap != nil {
		handler = v.wrap(handler)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := newHTTPServer(handler, o, logger)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := shutdown(srv, texts, o.grace); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		<-ended
		if _, err := os.Stat(texts.dir); err == nil {
			t.Errorf("%s is left", texts.dir)
		}
	})
	return &service{
		t: t, url: "http://" + listener.Addr().String(), texts: texts,
		client: &http.Client{Transport: transport, Timeout: 2 * patience},
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	opinion
	problem *problem // nil unless the body holds one
}

func (a answer) code() string {
	if a.problem == nil {
		return ""
	}
	return a.problem.Code
}

// send makes a request; the error means that there was no answer.
func (s *service) send(ctx context.Context, method, path, body string) (a answer, err error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	reply, err := s.client.Do(r)
	if err != nil {
		return a, err
	}
	defer reply.Body.Close()
	a.status, a.header = reply.StatusCode, reply.Header
	if a.body, err = io.ReadAll(reply.Body); err != nil || len(a.body) == 0 {
		return a, err
	}
	if a.status == http.StatusOK {
		return a, json.Unmarshal(a.body, &a.opinion)
	}
	var wrapped struct{ Error *problem }
	if json.Unmarshal(a.body, &wrapped) == nil {
		a.problem = wrapped.Error
	}
	return a, nil
}

// must makes a request that has to get an answer with the status and the error code.
func (s *service) must(method, path, body string, status int, code string) answer {
	s.t.Helper()
	a, err := s.send(s.t.Context(), method, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.check(a, status, code)
	return a
}

func (s *service) check(a answer, status int, code string) {
	s.t.Helper()
	if a.status != status || a.code() != code {
		s.t.Fatalf("got %d %s, want %d %q", a.status, bytes.TrimSpace(a.body), status, code)
	}
	if (status == http.StatusServiceUnavailable) != (a.header.Get("Retry-After") != "") {
		s.t.Errorf("status %d came with Retry-After %q", status, a.header.Get("Retry-After"))
	}
}

// say adds a text to a conversation, which has to work.
func (s *service) say(conversation, text string) answer {
	s.t.Helper()
	return s.must("POST", "/conversations/"+conversation+"/messages", `{"text":"`+text+`"}`, http.StatusOK, "")
}

// stats returns the service's figures.
func (s *service) stats() (got stats) {
	s.t.Helper()
	a, err := s.send(s.t.Context(), "GET", "/stats", "")
	if err == nil {
		err = json.Unmarshal(a.body, &got)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// eventually polls the stats until the claim holds, and fails the test if it never does.
func (s *service) eventually(claim string, holds func(stats) bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(s.stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("after %v it is not so that %s: %+v", patience, claim, s.stats())
		}
	}
}

// pid has the service's only worker answer, and returns its PID.
func (s *service) pid() int {
	s.t.Helper()
	s.must("POST", "/classify", `{"text":"hello"}`, http.StatusOK, "")
	workers := s.stats().Workers
	if len(workers) != 1 {
		s.t.Fatalf("workers %+v, want one", workers)
	}
	return workers[0].PID
}

// signal sends a signal to a worker.
func (s *service) signal(pid int, signal syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		s.t.Fatal(err)
	}
}

// later is a request under way.
func (s *service) later(ctx context.Context, method, path, body string) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		a, err := s.send(ctx, method, path, body)
		if err != nil {
			a.status, a.body = 0, []byte(err.Error())
		}
		c <- a
	}()
	return c
}

// await returns the answer to a request under way.
func (s *service) await(c <-chan answer) answer {
	s.t.Helper()
	select {
	case a := <-c:
		return a
	case <-time.After(patience):
		s.t.Fatalf("no answer after %v", patience)
	}
	panic("unreachable")
}

func TestPythonSide(t *testing.T) {
	needPython(t)
	command, err := python.Command(t.Context(), "-S", "-E", "-B", "-m", "unittest", "test_classifier")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = filepath.Join(".", "worker")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\nRan ")) || bytes.Contains(out, []byte("Ran 0 ")) {
		t.Errorf("%v\n%s", err, out)
	}
}
