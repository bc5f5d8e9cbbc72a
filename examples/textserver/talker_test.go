package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
)

// The rules that the trial holds the service to.
const (
	ruleAnswered = "every request gets exactly one answer"
	ruleTyped    = "a refusal is one of those that can happen here, with its status"
	ruleTurn     = "a conversation goes on with its own next turn"
	ruleProcess  = "a conversation goes on in its own process"
	ruleLoss     = "a lost conversation is reported so until it is deleted, and no other"
	ruleScores   = "a conversation weighs its own messages, all of them and no others"
	ruleKilled   = "as many workers are lost as were killed"
	ruleDead     = "a process that was reported dead never answers again"
)

// allowed are the refusals that killed workers may bring about, with their statuses.
var allowed = map[string]int{
	"worker_died":       http.StatusBadGateway,
	"no_worker":         http.StatusServiceUnavailable,
	"busy":              http.StatusServiceUnavailable,
	"saturated":         http.StatusServiceUnavailable,
	"deadline":          http.StatusGatewayTimeout,
	"conversation_lost": http.StatusGone,
}

// book is what the talkers note together.
type book struct {
	mu         sync.Mutex
	answers    map[string]int // by "ok" or error code, as the service counts
	continued  int            // messages that went on with a conversation
	anew       int            // conversations that began again after a loss
	processes  map[string]int // answers by process
	objections map[string][]string
}

func newBook() *book {
	return &book{answers: make(map[string]int), processes: make(map[string]int), objections: make(map[string][]string)}
}

// object notes that a rule was broken.
func (b *book) object(rule, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objections[rule] = append(b.objections[rule], fmt.Sprintf(format, args...))
}

// note adds up what may be added up.
func (b *book) note(f func(*book)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

// sample is a text and what any process must say of it.
type sample struct {
	text   string
	scores map[string]float64
}

// talker is a client that keeps count of its conversation and objects to whatever cannot
// be. It makes one request after another.
type talker struct {
	name    string // of all its conversations, one after another
	random  *rand.Rand
	samples []sample
	book    *book
	send    func(ctx context.Context, method, path, body string) (answer, error)

	buried  map[string]bool // processes that were reported dead
	refused bool            // the last request was not answered as asked

	// The conversation.
	turn      int // the last that was answered
	instance  string
	sums      map[string]float64
	lost      bool // a loss was reported
	lostOnce  bool // the name had been lost before this conversation began
	showsTurn bool // its messages say which turn they are
}

// step makes one request, and reports whether it was refused.
func (c *talker) step(ctx context.Context) (refused bool) {
	c.refused = true
	switch draw := c.random.IntN(100); {
	case draw < 35:
		c.classify(ctx)
	case draw < 40 && c.turn > 0, draw < 70 && c.lost:
		c.forget(ctx)
	default:
		c.say(ctx)
	}
	return c.refused
}

// ask makes a request and judges what holds for each answer. It returns false if there is
// nothing more to judge.
func (c *talker) ask(ctx context.Context, method, path, body string, good int) (answer, bool) {
	a, err := c.send(ctx, method, path, body)
	if err != nil {
		c.book.object(ruleAnswered, "%s: %s %s: %v", c.name, method, path, err)
		return a, false
	}
	code := "ok"
	c.refused = a.status != good
	if c.refused {
		code = a.code()
		if status, ok := allowed[code]; !ok || status != a.status || a.problem.Message == "" {
			c.book.object(ruleTyped, "%s: %s %s: status %d with %q", c.name, method, path, a.status, a.body)
			return a, false
		}
		if (a.status == http.StatusServiceUnavailable) != (a.header.Get("Retry-After") != "") {
			c.book.object(ruleTyped, "%s: status %d with Retry-After %q", c.name, a.status, a.header.Get("Retry-After"))
		}
	}
	c.book.note(func(b *book) {
		b.answers[code]++
		if a.Instance != "" {
			b.processes[a.Instance]++
		}
	})
	if c.buried[a.Instance] {
		c.book.object(ruleDead, "%s: %s %s: answered by %s, whose death had been reported", c.name, method, path, a.Instance)
	}
	return a, true
}

// classify asks about one text, whose scores are known.
func (c *talker) classify(ctx context.Context) {
	s := c.samples[c.random.IntN(len(c.samples))]
	a, ok := c.ask(ctx, "POST", "/classify", body(s.text, 0), http.StatusOK)
	switch {
	case !ok:
	case a.code() == "conversation_lost":
		c.book.object(ruleLoss, "%s: a loss was reported to a request of no conversation", c.name)
	case a.status == http.StatusOK:
		c.compare(s.scores, a)
	}
}

// forget deletes the conversation, which always works.
func (c *talker) forget(ctx context.Context) {
	a, ok := c.ask(ctx, "DELETE", "/conversations/"+c.name, "", http.StatusNoContent)
	if !ok || a.problem != nil {
		c.book.object(ruleTyped, "%s: the conversation could not be deleted: %d %s", c.name, a.status, a.body)
		return
	}
	c.begin(c.lost)
}

// begin makes ready for a new conversation.
func (c *talker) begin(lost bool) {
	c.turn, c.instance, c.sums, c.lost, c.lostOnce = 0, "", make(map[string]float64), false, lost
	c.showsTurn = c.random.IntN(2) == 0
}

// say adds a message to the conversation.
func (c *talker) say(ctx context.Context) {
	s := c.samples[c.random.IntN(len(c.samples))]
	turn := 0
	if c.showsTurn {
		turn = c.turn + 1
	}
	a, ok := c.ask(ctx, "POST", "/conversations/"+c.name+"/messages", body(s.text, turn), http.StatusOK)
	if !ok {
		return
	}
	switch code := a.code(); {
	case code == "":
		c.hear(s, a)
	case c.lost && code != "conversation_lost":
		c.book.object(ruleLoss, "%s: a lost conversation was answered with %s", c.name, code)
	case code == "conversation_lost" && c.turn == 0 && !c.lost:
		c.book.object(ruleLoss, "%s: a conversation that had not begun was reported lost", c.name)
	case code == "conversation_lost", code == "worker_died", code == "deadline":
		c.lost = true
		if c.instance != "" {
			c.buried[c.instance] = true
		}
	}
}

// hear judges the answer to a message, and takes it over.
func (c *talker) hear(s sample, a answer) {
	where := fmt.Sprintf("%s: turn %d of process %s, after turn %d of process %q", c.name, a.Turn, a.Instance, c.turn, c.instance)
	if c.lost {
		c.book.object(ruleLoss, "%s: it went on although it had been reported lost", where)
	}
	if a.Turn != c.turn+1 {
		c.book.object(ruleTurn, "%s", where)
	}
	if c.turn > 0 && a.Instance != c.instance {
		c.book.object(ruleProcess, "%s", where)
	}
	for _, topic := range a.Labels {
		c.sums[topic.Label] += s.scores[topic.Label]
	}
	c.compare(c.sums, a)
	c.book.note(func(b *book) {
		switch {
		case c.turn > 0:
			b.continued++
		case c.lostOnce:
			b.anew++
		}
	})
	c.turn, c.instance = c.turn+1, a.Instance
}

// compare holds the scores of an answer against those that are right. All processes do
// the same sums in the same order, so they are equal to the last bit.
func (c *talker) compare(want map[string]float64, a answer) {
	got := scores(a)
	same := len(got) == len(want)
	for label, score := range want {
		same = same && got[label] == score
	}
	if !same {
		c.book.object(ruleScores, "%s: turn %d: scores %v, want %v", c.name, a.Turn, got, want)
	}
}

// body returns the JSON of a message; turn 0 is left out.
func body(text string, turn int) string {
	content, err := json.Marshal(message{Text: text, Turn: turn})
	if err != nil {
		panic(err)
	}
	return string(content)
}

// summary prints the objections, the first few of each rule.
func (b *book) summary() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out strings.Builder
	for rule, found := range b.objections {
		fmt.Fprintf(&out, "%d times broken: %s\n", len(found), rule)
		for _, text := range found[:min(3, len(found))] {
			fmt.Fprintf(&out, "\t%s\n", text)
		}
	}
	return out.String()
}
