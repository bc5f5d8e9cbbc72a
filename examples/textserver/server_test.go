package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

const hello = `{"text":"hello"}`

func TestClassify(t *testing.T) {
	s := newService(t, variant{})
	a := s.must("POST", "/classify", `{"text":"Where is my parcel?"}`, http.StatusOK, "")
	if a.Label == nil || *a.Label != "delivery" || len(a.Labels) != 6 || a.Turn != 0 || a.Worker != 1 || a.Instance == "" {
		t.Errorf("got %s", a.body)
	}
	sum := 0.0
	for _, topic := range a.Labels {
		sum += topic.Probability
	}
	if sum < 0.999 || sum > 1.001 {
		t.Errorf("the probabilities add up to %v: %s", sum, a.body)
	}
	if a = s.must("POST", "/classify", `{"text":"xyzzy"}`, http.StatusOK, ""); a.Label != nil {
		t.Errorf("of a text without any known word: %s", a.body)
	}
}

func TestEveryProcessAnswersTheSame(t *testing.T) {
	s := newService(t, variant{})
	const body = `{"text":"My card was charged for a parcel that I returned."}`
	one := s.must("POST", "/classify", body, http.StatusOK, "")
	s.signal(s.pid(), syscall.SIGKILL)
	s.eventually("the worker has been replaced", func(got stats) bool { return got.Pool.Counts.Started == 2 && got.Pool.Idle == 1 })
	other := s.must("POST", "/classify", body, http.StatusOK, "")
	if one.Instance == other.Instance || one.Worker == other.Worker {
		t.Fatalf("%s and %s come from the same process", one.body, other.body)
	}
	if !slices.Equal(one.Labels, other.Labels) {
		t.Errorf("got %v and %v", one.Labels, other.Labels)
	}
}

func TestConversation(t *testing.T) {
	s := newService(t, variant{change: func(o *options) { o.workers = 2 }})
	s.eventually("both workers have started", func(got stats) bool { return got.Pool.Idle == 2 })
	label := func(a answer) string { return fmt.Sprint(a.Turn, " ", *a.Label) }
	first := s.say("c", "What is this fee for?")
	second := s.say("c", "It is on my last bill.")
	alone := s.must("POST", "/classify", `{"text":"It is on my last bill."}`, http.StatusOK, "")
	other := s.say("d", "The app crashes.")
	if got := []string{label(first), label(second), label(other)}; !slices.Equal(got, []string{"1 product", "2 billing", "1 technical"}) {
		t.Errorf("got %q: the second message should have made it clear what the first was about", got)
	}
	if second.Instance != first.Instance || other.Instance == first.Instance {
		t.Errorf("instances %s, %s and, of another conversation, %s; want the first two the same",
			first.Instance, second.Instance, other.Instance)
	}
	for i, want := range scores(first) {
		want += scores(alone)[i]
		if got := scores(second)[i]; got != want {
			t.Errorf("%s: score %v, want the sum, %v", i, got, want)
		}
	}
	s.must("DELETE", "/conversations/c", "", http.StatusNoContent, "")
	s.must("DELETE", "/conversations/c", "", http.StatusNoContent, "")
	if again := s.say("c", "What is this fee for?"); label(again) != "1 product" {
		t.Errorf("after it was deleted: %s", again.body)
	}
}

// scores returns the scores by label.
func scores(a answer) map[string]float64 {
	m := make(map[string]float64)
	for _, topic := range a.Labels {
		m[topic.Label] = topic.Score
	}
	return m
}

func TestBadInput(t *testing.T) {
	s := newService(t, variant{})
	const classify, say = "/classify", "/conversations/c/messages"
	for _, c := range []struct{ path, body, field, given string }{
		{classify, ``, "body", ``},
		{classify, `{"text":"cut`, "body", `{"text":"cut`},
		{classify, `["text"]`, "body", `["text"]`},
		{classify, `null`, "body", `null`},
		{classify, "{\"text\":\"\xff\"}", "body", "{\"text\":\"\uFFFD\"}"},
		{classify, `{}`, "text", ``},
		{classify, `{"text":7}`, "text", `7`},
		{classify, `{"text":null}`, "text", `null`},
		{classify, `{"text":" \n"}`, "text", `" \n"`},
		{classify, `{"text":"` + strings.Repeat("ä", textCharacters+1) + `"}`, "text", clip(`"` + strings.Repeat("ä", textCharacters))},
		{classify, `{"text":"a","turn":1}`, "turn", `1`},
		{classify, `{"text":"a","Text":"b"}`, "Text", `"b"`},
		{say, `{"text":"a","turn":0}`, "turn", `0`},
		{say, `{"text":"a","turn":null}`, "turn", `null`},
		{say, `{"text":"a","turn":1.5}`, "turn", `1.5`},
		{say, `{"text":"a","turn":"1"}`, "turn", `"1"`},
		{say, `{"text":"a","turn":1000001}`, "turn", `1000001`},
		{say, `{"text":"a","conversation":"d"}`, "conversation", `"d"`},
		{"/conversations/a%20b/messages", hello, "conversation", "a b"},
		{"/conversations/a.b/messages", hello, "conversation", "a.b"},
		{"/conversations/" + strings.Repeat("a", nameCharacters+1) + "/messages", hello, "conversation", clip(strings.Repeat("a", nameCharacters))},
	} {
		a := s.must("POST", c.path, c.body, http.StatusBadRequest, "bad_input")
		if p := a.problem; p.Field != c.field || p.Given != c.given || p.Allowed == "" || p.Message == "" {
			t.Errorf("%s %.60s: got %s, want field %q, given %q", c.path, c.body, a.body, c.field, c.given)
		}
	}
	s.must("DELETE", "/conversations/a%2Fb", "", http.StatusBadRequest, "bad_input")
	s.must("POST", classify, `{"text":"`+strings.Repeat("a", bodyBytes)+`"}`, http.StatusRequestEntityTooLarge, "too_large")
	s.must("POST", classify, `{"text":"`+strings.Repeat("ä", textCharacters)+`"}`, http.StatusOK, "")
	s.must("POST", "/conversations/"+strings.Repeat("a", nameCharacters)+"/messages", hello, http.StatusOK, "")
	s.must("GET", "/nowhere", "", http.StatusNotFound, "not_found")
	if a := s.must("GET", classify, "", http.StatusMethodNotAllowed, "method_not_allowed"); a.header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
	s.must("POST", "/stats", "", http.StatusMethodNotAllowed, "method_not_allowed")
	if got := s.stats().Pool.Counts; got.Granted != 2 || got.Stopped != 0 {
		t.Errorf("bad input reached the workers: %+v", got)
	}
}

func TestLostConversationIsReportedUntilItIsDeleted(t *testing.T) {
	s := newService(t, variant{})
	before := s.say("c", "hello")
	s.signal(s.pid(), syscall.SIGKILL)
	s.eventually("the loss is known", func(got stats) bool { return got.Pool.LostSessions == 1 })
	for range 2 {
		s.must("POST", "/conversations/c/messages", hello, http.StatusGone, "conversation_lost")
	}
	s.must("DELETE", "/conversations/c", "", http.StatusNoContent, "")
	if after := s.say("c", "hello"); after.Turn != 1 || after.Instance == before.Instance {
		t.Errorf("before the loss %s, anew %s; want turn 1 of another process", before.body, after.body)
	}
}

func TestWrongTurnChangesNothing(t *testing.T) {
	s := newService(t, variant{})
	const path = "/conversations/c/messages"
	s.must("POST", path, `{"text":"hello","turn":2}`, http.StatusGone, "conversation_expired")
	s.must("POST", path, `{"text":"hello","turn":1}`, http.StatusOK, "")
	a := s.must("POST", path, `{"text":"hello","turn":1}`, http.StatusConflict, "wrong_turn")
	if p := a.problem; p.Field != "turn" || p.Given != "1" || p.Allowed != "2" {
		t.Errorf("got %s", a.body)
	}
	if a := s.must("POST", path, `{"text":"hello","turn":2}`, http.StatusOK, ""); a.Turn != 2 {
		t.Errorf("got %s", a.body)
	}
}

func TestExpiredConversationIsReported(t *testing.T) {
	s := newService(t, variant{change: func(o *options) { o.ttl = time.Millisecond }})
	s.say("c", "hello")
	s.eventually("the conversation has expired", func(got stats) bool { return got.Pool.Sessions == 0 && got.Pool.Idle == 1 })
	s.must("POST", "/conversations/c/messages", `{"text":"hello","turn":2}`, http.StatusGone, "conversation_expired")
}

func TestWorkerThatDiesDuringARequest(t *testing.T) {
	s := newService(t, variant{})
	s.say("c", "hello")
	pid := s.pid()
	s.signal(pid, syscall.SIGSTOP)
	request := s.later(t.Context(), "POST", "/conversations/c/messages", hello)
	s.eventually("the worker is at work", func(got stats) bool { return got.Pool.Leased == 1 })
	s.signal(pid, syscall.SIGKILL)
	s.check(s.await(request), http.StatusBadGateway, "worker_died")
	s.must("POST", "/conversations/c/messages", hello, http.StatusGone, "conversation_lost")
	s.must("POST", "/classify", hello, http.StatusOK, "")
}

func TestWorkerThatTakesTooLong(t *testing.T) {
	s := newService(t, variant{})
	s.say("c", "hello")
	s.signal(s.pid(), syscall.SIGSTOP)
	usual := s.texts.client
	s.texts.client = process.NewClient(s.texts.pool, process.ClientConfig{CallTimeout: 100 * time.Millisecond})
	s.must("POST", "/conversations/c/messages", hello, http.StatusGatewayTimeout, "deadline")
	s.must("POST", "/conversations/c/messages", hello, http.StatusGone, "conversation_lost")
	s.texts.client = usual
	s.must("POST", "/classify", hello, http.StatusOK, "") // by another process
}

func TestLimits(t *testing.T) {
	s := newService(t, variant{change: func(o *options) { o.queue, o.conversations, o.wait = 1, 1, 100*time.Millisecond }})
	s.eventually("the worker has started", func(got stats) bool { return got.Pool.Idle == 1 })
	pid := s.pid()
	s.say("c", "hello")
	s.must("POST", "/conversations/d/messages", hello, http.StatusServiceUnavailable, "too_many_conversations")
	s.signal(pid, syscall.SIGSTOP)
	running := s.later(t.Context(), "POST", "/classify", hello)
	s.eventually("the worker is at work", func(got stats) bool { return got.Pool.Leased == 1 })
	s.must("POST", "/classify", hello, http.StatusServiceUnavailable, "busy")
	full := errors.New("the queue is full")
	for refused := false; !refused; { // two that wait in turn for as long as it takes
		ctx, cancel := context.WithCancelCause(t.Context())
		one, other := s.later(ctx, "POST", "/classify", hello), s.later(ctx, "POST", "/classify", hello)
		for range 2 {
			select {
			case a := <-one:
				refused = refused || a.code() == "saturated"
			case a := <-other:
				refused = refused || a.code() == "saturated"
			}
		}
		cancel(full)
	}
	s.signal(pid, syscall.SIGCONT)
	s.check(s.await(running), http.StatusOK, "")
	s.must("POST", "/classify", hello, http.StatusOK, "")
}

func TestClientThatLeavesCostsNoWorker(t *testing.T) {
	s := newService(t, variant{})
	before := s.say("c", "hello")
	pid := s.pid()
	s.signal(pid, syscall.SIGSTOP)
	ctx, leave := context.WithCancel(t.Context())
	request := s.later(ctx, "POST", "/conversations/c/messages", hello)
	s.eventually("the worker is at work", func(got stats) bool { return got.Pool.Leased == 1 })
	waiting := s.later(ctx, "POST", "/conversations/c/messages", hello)
	s.eventually("another request waits", func(got stats) bool { return got.Pool.Waiting == 1 })
	leave()
	s.await(request)
	s.await(waiting)
	s.eventually("the one that waited has left", func(got stats) bool { return got.Pool.Waiting == 0 && got.Answers["cancelled"] == 1 })
	s.signal(pid, syscall.SIGCONT)
	if after := s.say("c", "hello"); after.Turn != 3 || after.Instance != before.Instance {
		t.Errorf("got %s, want turn 3 of instance %s", after.body, before.Instance)
	}
}

// A worker that was spawned is not ready: it learns first.
func TestReadyOnceTheCorpusIsLearnt(t *testing.T) {
	corpus := filepath.Join(t.TempDir(), "corpus")
	if err := syscall.Mkfifo(corpus, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newService(t, variant{change: func(o *options) { o.corpus = corpus }})
	fifo, err := os.OpenFile(corpus, os.O_WRONLY, 0) // blocks until the worker reads
	if err != nil {
		t.Fatal(err)
	}
	s.must("GET", "/healthz", "", http.StatusOK, "")
	s.must("GET", "/readyz", "", http.StatusServiceUnavailable, "not_ready")
	early := s.later(t.Context(), "POST", "/classify", `{"text":"red"}`)
	s.eventually("the request waits", func(got stats) bool { return got.Pool.Waiting == 1 })
	if _, err := fifo.WriteString("warm\tred\ncold\tblue\n"); err != nil {
		t.Fatal(err)
	}
	fifo.Close()
	a := s.await(early)
	s.check(a, http.StatusOK, "")
	if *a.Label != "warm" {
		t.Errorf("got %s", a.body)
	}
	s.must("GET", "/readyz", "", http.StatusOK, "")
}

func TestWorkersThatCannotStart(t *testing.T) {
	corpus := filepath.Join(t.TempDir(), "corpus")
	if err := os.WriteFile(corpus, []byte("a\tred\nno tab\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newService(t, variant{change: func(o *options) { o.corpus = corpus }})
	s.must("POST", "/classify", hello, http.StatusServiceUnavailable, "no_worker")
	s.must("GET", "/readyz", "", http.StatusServiceUnavailable, "not_ready")
	s.must("GET", "/healthz", "", http.StatusOK, "")
}

func TestClosing(t *testing.T) {
	s := newService(t, variant{})
	s.pid()
	if err := s.texts.pool.Close(); err != nil {
		t.Fatal(err)
	}
	s.must("POST", "/classify", hello, http.StatusServiceUnavailable, "closing")
	s.must("GET", "/readyz", "", http.StatusServiceUnavailable, "closing")
}

func TestStats(t *testing.T) {
	s := newService(t, variant{})
	s.say("c", "hello")
	s.must("POST", "/classify", `{}`, http.StatusBadRequest, "bad_input")
	got := s.stats()
	if got.PID != os.Getpid() || got.UptimeSeconds <= 0 || got.ResidentBytes <= 0 || got.Goroutines <= 0 {
		t.Errorf("of the process: %+v", got)
	}
	if got.Answers["ok"] != 1 || got.Answers["bad_input"] != 1 {
		t.Errorf("answers: %v", got.Answers)
	}
	if got.Pool.MaxSize != 1 || got.Pool.BoundSessions != 1 || got.Pool.Counts.Granted != 1 {
		t.Errorf("of the pool: %+v", got.Pool)
	}
	if w := got.Workers; len(w) != 1 || w[0].Worker != 1 || w[0].Calls != 1 || w[0].ResidentBytes <= 0 {
		t.Errorf("of the workers: %+v", w)
	}
	s.signal(got.Workers[0].PID, syscall.SIGKILL)
	s.eventually("a dead worker is not listed, but the next is", func(next stats) bool {
		return len(next.Workers) == 1 && next.Workers[0].Worker == 2 && next.Workers[0].Calls == 0
	})
}

// A worker's death is no news to who asks about one text: another one answers.
func TestClassifyIsRepeated(t *testing.T) {
	s := newService(t, variant{})
	first := s.say("c", "hello")
	pid := s.pid()
	s.signal(pid, syscall.SIGSTOP)
	request := s.later(t.Context(), "POST", "/classify", `{"text":"Where is my parcel?"}`)
	s.eventually("the worker is at work", func(got stats) bool { return got.Pool.Leased == 1 })
	s.signal(pid, syscall.SIGKILL)
	a := s.await(request)
	s.check(a, http.StatusOK, "")
	if *a.Label != "delivery" || a.Instance == first.Instance || a.Worker == first.Worker {
		t.Errorf("got %s after %s", a.body, first.body)
	}
	s.must("POST", "/conversations/c/messages", hello, http.StatusGone, "conversation_lost")
}

// Every error becomes the answer that it should, also where it wraps others.
func TestProblems(t *testing.T) {
	broken := func(cause error) error { return fmt.Errorf("%w: %w", process.ErrBroken, cause) }
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{badInput("text", "", "text"), 400, "bad_input"},
		{&turnError{given: 3, want: 2}, 409, "wrong_turn"},
		{&turnError{given: 3, want: 1}, 410, "conversation_expired"},
		{pool.ErrSessionLost, 410, "conversation_lost"},
		{pool.ErrSessionLimit, 503, "too_many_conversations"},
		{pool.ErrSaturated, 503, "saturated"},
		{pool.ErrAcquireTimeout, 503, "busy"},
		{pool.ErrClosed, 503, "closing"},
		{broken(process.ErrStopped), 503, "closing"},
		{&pool.StartError{Err: broken(context.DeadlineExceeded)}, 503, "no_worker"},
		{broken(context.DeadlineExceeded), 504, "deadline"},
		{broken(&process.ExitError{}), 502, "worker_died"},
		{broken(process.ErrProtocol), 502, "worker_died"},
		{context.Canceled, 503, "cancelled"},
		{&process.RemoteError{Code: process.CodeFailed}, 500, "worker_failed"},
		{process.ErrFrameTooLarge, 500, "internal"},
		{errors.New("another"), 500, "internal"},
	} {
		p := problemOf(fmt.Errorf("wrapped: %w", c.err))
		if p.status != c.status || p.Code != c.code {
			t.Errorf("%v: got %d %s, want %d %s", c.err, p.status, p.Code, c.status, c.code)
		}
		if (p.retryAfter != "") != (c.status == 503) && c.code != "cancelled" {
			t.Errorf("%v: Retry-After %q with %d", c.err, p.retryAfter, c.status)
		}
		if body, err := json.Marshal(p); err != nil || p.Message == "" || strings.Contains(string(body), "wrapped") {
			t.Errorf("%v: %s, %v; the client is to learn the kind alone", c.err, body, err)
		}
		if row := fmt.Sprintf("| %d | `%s` |", p.status, p.Code); !bytes.Contains(readme, []byte(row)) {
			t.Errorf("README.md has no row that begins with %s", row)
		}
	}
}
