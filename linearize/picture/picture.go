package picture

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/poolproof/poolproof/linearize"
)

//go:embed page.html page.css scale.js plot.js page.js
var files embed.FS

// Link is a file that a page points to.
type Link struct {
	Name string // relative to the page
	Text string
}

// Write writes the page of a history and the verdict on it, with links to what stands
// beside it. The page marks the operations and changes that the verdict names. Of a large
// history it holds what is nearest to these, and says what it leaves out.
func Write(w io.Writer, h *linearize.History, v *linearize.Verdict, links ...Link) error {
	p, err := newPage(h, v, links)
	if err != nil {
		return err
	}
	t, err := template.New("page.html").ParseFS(files, "page.html")
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

// page is what page.html shows.
type page struct {
	Title   string
	Policy  string // which script and style the browser may heed
	Style   template.CSS
	Script  template.JS
	Head    linearize.Head
	Verdict *linearize.Verdict
	Rule    string // in words
	Facts   []fact
	Marks   []mark
	More    int // marked, but not listed
	Left    string
	Links   []Link
	Scene   *scene
}

// fact is something about the history, in two words.
type fact struct{ Name, Value string }

// mark is a line of the list of what shows the fault.
type mark struct {
	Number  int
	Key     string // of the script: "call:3" is the third call of the scene
	What    string
	Who     string
	Outcome string
	Worker  string
	Session string
	Seq     string
	When    string
	Open    bool
}

func newPage(h *linearize.History, v *linearize.Verdict, links []Link) (*page, error) {
	style, err := files.ReadFile("page.css")
	if err != nil {
		return nil, err
	}
	script, err := script()
	if err != nil {
		return nil, err
	}
	s := choose(h, v)
	sc := newScene(h, s)
	title := v.Result.String()
	if v.Rule != "" {
		title += " " + v.Rule
	}
	return &page{
		Title: title + ": " + clip(h.Head.Pool), Style: template.CSS(style), Script: template.JS(script),
		Policy: fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; img-src data:; base-uri 'none'; form-action 'none'",
			digest(script), digest(style)),
		Head: h.Head, Verdict: v, Rule: RuleText(v.Rule), Facts: facts(h, v), Marks: marks(sc),
		More: len(v.Ops) + len(v.Changes) - len(s.ops) - len(s.seqs), Left: left(h, sc), Links: links, Scene: sc,
	}, nil
}

// script puts the page's script together.
func script() ([]byte, error) {
	b := []byte("(() => {\n'use strict';\n")
	for _, name := range []string{"scale.js", "plot.js", "page.js"} {
		part, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		b = append(b, part...)
	}
	return append(b, "})();\n"...), nil
}

// digest names a script or style in a policy.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// marks lists what is marked, in order of its numbers.
func marks(sc *scene) []mark {
	var list []mark
	for i := range sc.Calls {
		if c := &sc.Calls[i]; c.Mark > 0 {
			list = append(list, mark{
				Number: c.Mark, Key: fmt.Sprintf("call:%d", i), What: fmt.Sprintf("op %d: %s", c.ID, c.Kind),
				Who: fmt.Sprintf("client %d", c.Client), Outcome: c.Outcome, Worker: some(uint64(c.Worker)),
				Session: c.Session, Seq: some(uint64(c.Seq)), When: when(c), Open: c.Open,
			})
		}
	}
	last := 0
	for i := range sc.Changes {
		if c := &sc.Changes[i]; c.Mark > 0 && c.Mark != last {
			last = c.Mark
			list = append(list, mark{
				Number: c.Mark, Key: fmt.Sprintf("change:%d", i), What: "change: " + c.Kind, Who: "the pool",
				Outcome: c.Outcome, Worker: some(uint64(c.Worker)), Session: c.Session, Seq: some(uint64(c.Seq)),
				When: "by " + Duration(time.Duration(c.At)),
			})
		}
	}
	return list
}

func when(c *call) string {
	from := Duration(time.Duration(c.From))
	if c.Open {
		return "from " + from + ", never answered"
	}
	return from + " to " + Duration(time.Duration(c.To))
}

// Duration says a duration in full, in the unit that suits it: 12.5 µs.
func Duration(d time.Duration) string {
	unit, size := "s", time.Second
	switch {
	case d < time.Microsecond:
		unit, size = "ns", time.Nanosecond
	case d < time.Millisecond:
		unit, size = "µs", time.Microsecond
	case d < time.Second:
		unit, size = "ms", time.Millisecond
	}
	whole, rest := int64(d/size), fmt.Sprintf("%09d", int64(d%size))
	rest = strings.TrimRight(rest[len(rest)-len(fmt.Sprint(int64(size)))+1:], "0")
	if rest != "" {
		return fmt.Sprintf("%d.%s %s", whole, rest, unit)
	}
	return fmt.Sprintf("%d %s", whole, unit)
}

// some returns a number, or nothing for none.
func some(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// facts says what the history is of, and how it was judged.
func facts(h *linearize.History, v *linearize.Verdict) []fact {
	list := []fact{{"promised", promised(&h.Head.Config)}}
	counted := plural(len(h.Ops), "call")
	if len(h.Changes) > 0 {
		counted += ", " + plural(len(h.Changes), "change")
	}
	if len(h.Faults) > 0 {
		counted += ", " + plural(len(h.Faults), "fault")
	}
	list = append(list, fact{"recorded", counted + " in " + Duration(h.Span())}, fact{"seed", fmt.Sprint(h.Head.Seed)})
	if v.Judge != "" {
		list = append(list, fact{"decided by", v.Judge})
	}
	if v.Spent.Steps > 0 {
		list = append(list, fact{"spent", fmt.Sprintf("%s, %d bytes of states, %v", plural(int(v.Spent.Steps), "step"), v.Spent.Bytes, Duration(v.Spent.Elapsed))})
	}
	return list
}

// promised says what the pool was held to.
func promised(c *linearize.Config) string {
	parts := []string{"no limit to the leases"}
	if c.Capacity > 0 {
		parts[0] = "at most " + plural(c.Capacity, "lease")
	}
	parts = append(parts, map[linearize.Affinity]string{
		linearize.None: "no affinity", linearize.Strict: "strict affinity", linearize.Sticky: "sticky affinity", linearize.Prefer: "preferred affinity",
	}[c.Affinity])
	if c.SessionTTL > 0 {
		parts = append(parts, "sessions end after "+Duration(c.SessionTTL))
	}
	if c.MaxWaiters > 0 {
		parts = append(parts, "at most "+plural(c.MaxWaiters, "waiter"))
	}
	for _, flag := range []struct {
		is   bool
		text string
	}{
		{c.FIFO, "first come, first served"},
		{c.FullOnly, "refuses only while full"},
		{c.CloseWaits, "Close waits for the leases"},
		{c.NoneAfter, "grants nothing once closing"},
		{c.Fresh, "says truly what it binds"},
		{c.Ends, "says what ends its workers"},
	} {
		if flag.is {
			parts = append(parts, flag.text)
		}
	}
	return strings.Join(parts, ", ")
}

// plural returns a number with thousands set apart, and what it counts.
func plural(n int, what string) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if n != 1 {
		what += "s"
	}
	return s + " " + what
}

// left says what of the history the page does not hold; "" if it holds everything.
func left(h *linearize.History, sc *scene) string {
	var parts []string
	for _, c := range []struct {
		has, of int
		what    string
	}{
		{len(sc.Calls), len(h.Ops), "call"},
		{len(sc.Changes), len(h.Changes), "change"},
		{len(sc.Faults), len(h.Faults), "fault"},
	} {
		if c.has < c.of {
			parts = append(parts, fmt.Sprintf("%s of %s", strings.Fields(plural(c.has, ""))[0], plural(c.of, c.what)))
		}
	}
	if parts == nil {
		return ""
	}
	nearest := "the first"
	if len(sc.Marks) > 0 {
		nearest = "those nearest to what is marked"
	}
	return fmt.Sprintf("Cut: this page holds %s, %s, from %s to %s. The rest is in the history's file.",
		strings.Join(parts, " and "), nearest, Duration(time.Duration(sc.From)), Duration(time.Duration(sc.To)))
}
