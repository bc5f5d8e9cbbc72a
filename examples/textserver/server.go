package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/poolproof/poolproof/pool"
)

// The limits of a request.
const (
	bodyBytes      = 64 << 10
	textCharacters = 4000
	nameCharacters = 64
	lastTurn       = 1_000_000
)

// server answers requests.
type server struct {
	texts  *texts
	logger *slog.Logger
	began  time.Time

	mu      sync.Mutex
	answers map[string]int // guarded by mu: by "ok" or the problem's code
}

// handler answers a request with a value, which becomes JSON, with nil, or with an error;
// or it has answered by itself and returns answered, or a *lateError.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// answered stands for an answer that has been given.
type answered struct{}

// lateError is an error that came amid an answer, at the end of which it was told.
type lateError struct{ err error }

func (e *lateError) Error() string { return "amid the answer: " + e.err.Error() }
func (e *lateError) Unwrap() error { return e.err }

// newServer returns the service's HTTP side.
func newServer(t *texts, logger *slog.Logger) http.Handler {
	s := &server{texts: t, logger: logger, began: time.Now(), answers: make(map[string]int)}
	mux := http.NewServeMux()
	for _, route := range []struct {
		method, path string
		handle       handler
	}{
		{http.MethodPost, "/classify", s.classify},
		{http.MethodGet, "/explain", s.explain},
		{http.MethodPost, "/conversations/{id}/messages", s.say},
		{http.MethodDelete, "/conversations/{id}", s.forget},
		{"", "/", notFound},
	} {
		s.route(mux, route.method, route.path, s.counted(route.handle))
	}
	s.route(mux, http.MethodGet, "/stats", s.stats)
	s.route(mux, http.MethodGet, "/healthz", healthy)
	s.route(mux, http.MethodGet, "/readyz", s.ready)
	return mux
}

// route serves a path, and refuses the other methods on it.
func (s *server) route(mux *http.ServeMux, method, path string, handle handler) {
	serve := func(w http.ResponseWriter, r *http.Request) {
		reply, err := handle(w, r)
		s.respond(w, r, reply, err)
	}
	if method == "" {
		mux.HandleFunc(path, serve)
		return
	}
	mux.HandleFunc(method+" "+path, serve)
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", method)
		s.respond(w, r, nil, &problem{
			status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "this path has another method",
			Field: "method", Given: clip(r.Method), Allowed: method,
		})
	})
}

// counted has the outcome appear in the stats.
func (s *server) counted(handle handler) handler {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		reply, err := handle(w, r)
		code := "ok"
		if err != nil {
			code = problemOf(err).Code
		}
		s.mu.Lock()
		s.answers[code]++
		s.mu.Unlock()
		return reply, err
	}
}

// respond writes the answer.
func (s *server) respond(w http.ResponseWriter, r *http.Request, reply any, err error) {
	status := http.StatusOK
	var late *lateError
	switch {
	case reply == (answered{}):
		return
	case err != nil:
		p := problemOf(err)
		s.logger.Info("request failed", "method", r.Method, "path", r.URL.Path, "code", p.Code, "error", err)
		if errors.As(err, &late) {
			return
		}
		if p.retryAfter != "" {
			w.Header().Set("Retry-After", p.retryAfter)
		}
		status, reply = p.status, map[string]*problem{"error": p}
	case reply == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(reply); err != nil {
		s.logger.Info("answer not delivered", "path", r.URL.Path, "error", err)
	}
}

func (s *server) classify(w http.ResponseWriter, r *http.Request) (any, error) {
	m, err := readMessage(w, r, "text")
	if err != nil {
		return nil, err
	}
	return orError(s.texts.classify(r.Context(), m.Text))
}

// explain streams words, one line each, as the worker finds them.
func (s *server) explain(w http.ResponseWriter, r *http.Request) (any, error) {
	text := r.URL.Query().Get("text")
	if !fits(text) {
		return nil, badInput("text", text, textAllowed())
	}
	stream, release, err := s.texts.explain(r.Context(), text)
	if err != nil {
		return nil, err
	}
	defer release()
	defer stream.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines, sent := json.NewEncoder(w), 0
	for ; stream.Next(); sent++ {
		if err := lines.Encode(stream.Chunk().Value); err != nil {
			return nil, &lateError{err} // the client has left
		}
		_ = http.NewResponseController(w).Flush() // without it the lines come together
	}
	switch err := stream.Err(); {
	case err == nil:
		return answered{}, nil
	case sent == 0:
		return nil, err
	default:
		_ = lines.Encode(map[string]*problem{"error": problemOf(err)})
		return nil, &lateError{err}
	}
}

func (s *server) say(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := conversation(r)
	if err != nil {
		return nil, err
	}
	m, err := readMessage(w, r, "text", "turn")
	if err != nil {
		return nil, err
	}
	return orError(s.texts.say(r.Context(), id, m.Text, m.Turn))
}

func (s *server) forget(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := conversation(r)
	if err != nil {
		return nil, err
	}
	s.texts.forget(id)
	return nil, nil
}

// orError keeps half an opinion from going out with an error.
func orError(o opinion, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

// stats are the figures of the service.
type stats struct {
	PID           int            `json:"pid"`
	UptimeSeconds float64        `json:"uptime_seconds"`
	ResidentBytes int            `json:"resident_bytes"`
	Goroutines    int            `json:"goroutines"`
	Answers       map[string]int `json:"answers"` // by "ok" or error code
	Workers       []figures      `json:"workers"`
	Pool          pool.Stat      `json:"pool"`
}

func (s *server) stats(http.ResponseWriter, *http.Request) (any, error) {
	poolStat, workers := s.texts.stat()
	s.mu.Lock()
	answers := maps.Clone(s.answers)
	s.mu.Unlock()
	return stats{
		PID:           os.Getpid(),
		UptimeSeconds: time.Since(s.began).Seconds(),
		ResidentBytes: residentBytes(os.Getpid()),
		Goroutines:    runtime.NumGoroutine(),
		Answers:       answers,
		Workers:       workers,
		Pool:          poolStat,
	}, nil
}

// healthy answers for as long as the process can answer at all.
func healthy(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]string{"status": "ok"}, nil
}

// ready says whether a request would find a worker that has started.
func (s *server) ready(http.ResponseWriter, *http.Request) (any, error) {
	stat, _ := s.texts.stat()
	if stat.Closing {
		return nil, pool.ErrClosed
	}
	if stat.Idle+stat.Checking+stat.Leased == 0 {
		return nil, &problem{
			status: http.StatusServiceUnavailable, Code: "not_ready", Message: "no worker has started yet", retryAfter: "1",
		}
	}
	return map[string]string{"status": "ready"}, nil
}

func notFound(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, &problem{
		status: http.StatusNotFound, Code: "not_found", Message: "there is no such path",
		Field: "path", Given: clip(r.URL.Path),
		Allowed: "/classify, /explain, /conversations/{id}/messages, /conversations/{id}, /stats, /healthz, /readyz",
	}
}

// conversation returns the name in the path.
func conversation(r *http.Request) (string, error) {
	id := r.PathValue("id")
	odd := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
	}
	if len(id) > nameCharacters || strings.ContainsFunc(id, odd) {
		return "", badInput("conversation", id, "1 to "+decimal(nameCharacters)+" letters, digits, - and _")
	}
	return id, nil
}

// readMessage reads a body that has the allowed fields at most, and text at least.
func readMessage(w http.ResponseWriter, r *http.Request, allowed ...string) (m message, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return m, &problem{
			status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "the request's body is too large",
			Field: "body", Given: "more", Allowed: decimal(bodyBytes) + " bytes",
		}
	case err != nil:
		return m, badInput("body", err.Error(), "a body that arrives whole and in time")
	}
	var fields map[string]json.RawMessage
	if !utf8.Valid(body) || json.Unmarshal(body, &fields) != nil || fields == nil {
		return m, badInput("body", strings.ToValidUTF8(string(body), "\uFFFD"), "a JSON object in UTF-8")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(allowed, name) {
			return m, badInput(name, string(fields[name]), "no such field, only "+strings.Join(allowed, " and "))
		}
	}
	return m, m.fill(fields)
}

// fill checks and takes over the fields' values.
func (m *message) fill(fields map[string]json.RawMessage) error {
	err := json.Unmarshal(fields["text"], &m.Text)
	if err != nil || !fits(m.Text) {
		return badInput("text", string(fields["text"]), textAllowed())
	}
	if raw, given := fields["turn"]; given {
		if err := json.Unmarshal(raw, &m.Turn); err != nil || m.Turn < 1 || m.Turn > lastTurn {
			return badInput("turn", string(raw), "an integer from 1 to "+decimal(lastTurn))
		}
	}
	return nil
}

func textAllowed() string {
	return "a string of 1 to " + decimal(textCharacters) + " characters, not all blank"
}

// fits reports whether a text is what textAllowed says.
func fits(text string) bool {
	return strings.TrimSpace(text) != "" && utf8.ValidString(text) && utf8.RuneCountInString(text) <= textCharacters
}

// decimal writes a number for people.
func decimal(n int) string { return strconv.Itoa(n) }
