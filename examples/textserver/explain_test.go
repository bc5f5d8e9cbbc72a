package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// line is one line of the answer of /explain.
type line struct {
	Word  string   `json:"word"`
	Label string   `json:"label"`
	Score float64  `json:"score"`
	Error *problem `json:"error"`
}

func explainPath(text string) string { return "/explain?text=" + url.QueryEscape(text) }

// explain asks for an explanation, and returns its lines.
func (s *service) explain(ctx context.Context, text string) (lines []line, header http.Header) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+explainPath(text), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	reply, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		s.t.Fatalf("status %d", reply.StatusCode)
	}
	for scanner := bufio.NewScanner(reply.Body); scanner.Scan(); {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			s.t.Fatalf("%s: %v", scanner.Bytes(), err)
		}
		lines = append(lines, l)
	}
	return lines, reply.Header
}

func TestExplain(t *testing.T) {
	s := newService(t, variant{})
	lines, header := s.explain(t.Context(), "Where is my parcel? The PARCEL should be here, xyzzy!")
	if len(lines) < 3 || lines[0].Word != "parcel" || lines[0].Label != "delivery" || header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("got %+v with %v", lines, header)
	}
	for i, l := range lines {
		if l.Error != nil || l.Word == "xyzzy" || i > 0 && l.Score > lines[i-1].Score {
			t.Errorf("line %d is %+v, before it %+v", i, l, lines[max(i-1, 0)])
		}
	}
	if lines, header = s.explain(t.Context(), "xyzzy"); len(lines) > 0 || header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("of no known word: %+v with %v", lines, header)
	}
	for _, text := range []string{"", " \n", "\xff", strings.Repeat("ä", textCharacters+1)} {
		if a := s.must("GET", explainPath(text), "", http.StatusBadRequest, "bad_input"); a.problem.Field != "text" {
			t.Errorf("%.10q: got %s", text, a.body)
		}
	}
	s.must("POST", "/explain", "", http.StatusMethodNotAllowed, "method_not_allowed")
	if got := s.stats(); got.Answers["ok"] != 2 || got.Answers["bad_input"] != 4 || got.Workers[0].Calls != 2 {
		t.Errorf("answers %v, workers %+v", got.Answers, got.Workers)
	}
}

// A worker that dies before the first line makes a refusal, later it makes the last line.
func TestExplainWhenTheWorkerDies(t *testing.T) {
	amid := hook{first: make(chan func(), 1)}
	s := newService(t, variant{wrap: amid.wrap})
	pid := s.pid()
	s.signal(pid, syscall.SIGSTOP)
	request := s.later(t.Context(), "GET", explainPath("hello"), "")
	s.eventually("the worker is at work", func(got stats) bool { return got.Pool.Leased == 1 })
	s.signal(pid, syscall.SIGKILL)
	s.check(s.await(request), http.StatusBadGateway, "worker_died")

	pid = s.pid()
	amid.first <- func() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		for alive := true; alive; time.Sleep(time.Millisecond) {
			alive, _ = isAlive(pid)
		}
	}
	lines, _ := s.explain(t.Context(), manyWords(t))
	last := lines[len(lines)-1]
	if len(lines) < 2 || lines[0].Word == "" || last.Error == nil || last.Error.Code != "worker_died" {
		t.Errorf("got %d lines, the last %+v", len(lines), last)
	}
	if got := s.stats(); got.Answers["worker_died"] != 2 {
		t.Errorf("answers %v", got.Answers)
	}
	if again, _ := s.explain(t.Context(), manyWords(t)); len(again) <= len(lines) || again[len(again)-1].Error != nil {
		t.Errorf("from the next worker: %d lines, %+v", len(again), again[len(again)-1])
	}
}

// A client that leaves an explanation costs no worker.
func TestClientThatLeavesAnExplanation(t *testing.T) {
	amid := hook{first: make(chan func(), 1)}
	s := newService(t, variant{wrap: amid.wrap})
	before := s.say("c", "hello")
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	amid.first <- func() {
		leave()
		<-gone
	}
	request := s.later(ctx, "GET", explainPath(manyWords(t)), "")
	if a := s.await(request); a.status != 0 && !bytes.Contains(a.body, []byte("cancel")) {
		t.Errorf("got %d %s", a.status, a.body)
	}
	close(gone)
	if after := s.say("c", "hello"); after.Turn != 2 || after.Instance != before.Instance {
		t.Errorf("got %s, want turn 2 of instance %s", after.body, before.Instance)
	}
	s.eventually("the stream's lease is over", func(got stats) bool { return got.Pool.Leased == 0 && got.Pool.Counts.Started == 1 })
}

// manyWords returns a text of more words that are known than a stream has room for.
func manyWords(t *testing.T) string {
	t.Helper()
	content, err := program.ReadFile("worker/corpus.tsv")
	if err != nil {
		t.Fatal(err)
	}
	return string([]rune(strings.ReplaceAll(string(content), "\t", " "))[:2000])
}

// hook does something when the first part of an answer of /explain has been written.
type hook struct{ first chan func() }

func (h hook) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/explain" {
			w = &hookedWriter{ResponseWriter: w, hook: h}
		}
		next.ServeHTTP(w, r)
	})
}

type hookedWriter struct {
	http.ResponseWriter
	hook hook
	once sync.Once
}

func (w *hookedWriter) Flush() {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	w.once.Do(func() {
		select {
		case do := <-w.hook.first:
			do()
		default:
		}
	})
}
