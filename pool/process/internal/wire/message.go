// Package wire takes the messages of docs/protocol.md apart and puts payloads where the
// other side finds them, for both sides of the protocol.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Message is a JSON object taken apart. Each field holds the text of the member's value,
// which is part of the object's text, or is nil if there is none; members with other names
// are ignored.
type Message struct {
	ID     uint64 // 0 if absent or null
	Method []byte // without its quotes and escapes

	Params, Result, Error, Shared, Stream []byte
}

// ErrNoText reports that something is no JSON text in UTF-8.
var ErrNoText = errors.New("not a JSON text in UTF-8")

var (
	errNoObject  = errors.New("not a JSON object")
	errVersion   = errors.New(`member "jsonrpc" is not "2.0"`)
	errID        = errors.New("id is not a positive integer")
	errMethod    = errors.New("method is not a name")
	errRequestID = errors.New("both a method and a result or an error")
)

// Parse fills m from a text, of which it keeps parts. It allocates nothing unless a name
// is written with escapes, or there is an error.
func (m *Message) Parse(text []byte) error {
	if !utf8.Valid(text) {
		return ErrNoText
	}
	if m.plainResult(text) {
		return nil
	}
	s := scanner{text: text}
	s.space()
	if err := m.object(&s); err != nil {
		return err
	}
	if !s.end() {
		return ErrNoText
	}
	return nil
}

// plainResult fills m from a reply that is written in the way most workers write it, and
// reports whether it is one. It saves looking at each member's name.
func (m *Message) plainResult(text []byte) bool {
	const before, between = `{"jsonrpc":"2.0","id":`, `,"result":`
	if len(text) < len(before) || string(text[:len(before)]) != before {
		return false
	}
	s := scanner{text: text, pos: len(before)}
	s.digits()
	id, ok := number(text[len(before):s.pos])
	if !ok || id == 0 || !s.word(between) {
		return false
	}
	s.space()
	begin := s.pos
	if !s.value(1) {
		return false
	}
	result := text[begin:s.pos:s.pos]
	s.space()
	if !s.take('}') || !s.end() {
		return false
	}
	*m = Message{ID: id, Result: result}
	return true
}

// object fills m from the object at s.
func (m *Message) object(s *scanner) error {
	*m = Message{}
	var version []byte
	if err := s.members(func(name, value []byte) error { return m.set(name, value, &version) }); err != nil {
		return err
	}
	if string(version) != `"2.0"` {
		return errVersion
	}
	if m.Method != nil && (m.Result != nil || m.Error != nil) {
		return errRequestID
	}
	return nil
}

// members visits the members of the object at s.
func (s *scanner) members(visit func(name, value []byte) error) error {
	if !s.take('{') {
		if s.value(0) {
			return errNoObject
		}
		return ErrNoText
	}
	s.space()
	for more := !s.take('}'); more; {
		begin := s.pos
		if s.peek() != '"' || !s.string() {
			return ErrNoText
		}
		name, err := unquote(s.text[begin:s.pos])
		s.space()
		if err != nil || !s.take(':') {
			return ErrNoText
		}
		s.space()
		begin = s.pos
		if !s.value(1) {
			return ErrNoText
		}
		if err := visit(name, s.text[begin:s.pos:s.pos]); err != nil {
			return err
		}
		s.space()
		if more = s.take(','); more {
			s.space()
		} else if !s.take('}') {
			return ErrNoText
		}
	}
	return nil
}

// set takes one member over. A name that comes twice leaves open what is meant.
func (m *Message) set(name, value []byte, version *[]byte) error {
	var field *[]byte
	switch string(name) {
	case "jsonrpc":
		field = version
	case "id":
		return m.setID(value)
	case "method":
		if m.Method != nil {
			return twice(name)
		}
		method, err := unquote(value)
		if err != nil || len(method) == 0 {
			return errMethod
		}
		m.Method = method
		return nil
	case "params":
		field = &m.Params
	case "result":
		field = &m.Result
	case "error":
		field = &m.Error
	case "shared":
		field = &m.Shared
	case "stream":
		field = &m.Stream
	default:
		return nil
	}
	if *field != nil {
		return twice(name)
	}
	if field == &m.Error && string(value) == "null" {
		return nil
	}
	*field = value
	return nil
}

func (m *Message) setID(value []byte) error {
	if m.ID != 0 {
		return twice([]byte("id"))
	}
	if string(value) == "null" {
		return nil
	}
	id, ok := number(value)
	if !ok || id == 0 {
		return errID
	}
	m.ID = id
	return nil
}

// Note is what the params of chunk, progress, credit and cancel say, taken apart.
type Note struct {
	ID     uint64
	Seq    uint64 // of a chunk
	Chunks uint64 // of a credit
	Value  []byte // of a chunk or progress; nil if absent
}

// Parse fills n from params that Message.Parse has found in order, and keeps parts of
// them. It allocates like Message.Parse.
func (n *Note) Parse(params []byte) error {
	*n = Note{}
	s := scanner{text: params}
	return s.members(func(name, value []byte) error {
		ok := true
		switch string(name) {
		case "id":
			n.ID, ok = number(value)
		case "seq":
			n.Seq, ok = number(value)
		case "chunks":
			n.Chunks, ok = number(value)
		case "value":
			n.Value = value
		}
		if !ok {
			return fmt.Errorf("%s is not a whole number", name)
		}
		return nil
	})
}

func twice(name []byte) error { return fmt.Errorf("member %q comes twice", name) }

// unquote returns what a JSON string says.
func unquote(quoted []byte) ([]byte, error) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return nil, errMethod
	}
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return []byte(s), err
}

// number returns the value of a plain decimal number that fits into 63 bits.
func number(text []byte) (uint64, bool) {
	if len(text) == 0 || len(text) > 18 || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	var n uint64
	for _, c := range text {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// Batch takes an array of objects apart. It appends to into and returns that. An array
// with nothing in it, or with more than limit elements, is an error.
func Batch(text []byte, limit int, into []Message) ([]Message, error) {
	if !utf8.Valid(text) {
		return into, ErrNoText
	}
	s := scanner{text: text}
	s.space()
	if !s.take('[') {
		return into, errors.New("not a JSON array")
	}
	for n := 0; ; n++ {
		if n == limit {
			return into, fmt.Errorf("more than %d messages in one body", limit)
		}
		s.space()
		var m Message
		if err := m.object(&s); err != nil {
			return into, err
		}
		into = append(into, m)
		s.space()
		if !s.take(',') {
			break
		}
	}
	if !s.take(']') || !s.end() {
		return into, ErrNoText
	}
	return into, nil
}

// IsBatch reports whether a text is an array, if it is JSON at all.
func IsBatch(text []byte) bool {
	s := scanner{text: text}
	s.space()
	return s.peek() == '['
}

// AppendString appends s as a JSON string.
func AppendString(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always has a JSON form
			}
			return append(to, quoted...)
		}
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
}

// AppendRange appends the member that says where in shared memory a payload lies.
func AppendRange(to []byte, offset, bytes int) []byte {
	to = append(to, `,"shared":[`...)
	to = strconv.AppendInt(to, int64(offset), 10)
	to = append(to, ',')
	to = strconv.AppendInt(to, int64(bytes), 10)
	return append(to, ']')
}

// Range reads the value of that member, and checks that the range lies within the
// sender's half, which begins at from and ends at to.
func Range(text []byte, from, to int) (offset, bytes int, err error) {
	s := scanner{text: text}
	first, ok := s.element('[')
	count, also := s.element(',')
	if !ok || !also || !s.take(']') || !s.end() {
		return 0, 0, fmt.Errorf("shared range %.40q is not a pair of whole numbers", text)
	}
	if first < uint64(from) || first > uint64(to) || count > uint64(to)-first {
		return 0, 0, fmt.Errorf("shared range of %d bytes at %d is not within %d to %d", count, first, from, to)
	}
	return int(first), int(count), nil
}

// element reads a whole number that stands behind open.
func (s *scanner) element(open byte) (uint64, bool) {
	if !s.take(open) {
		return 0, false
	}
	s.space()
	begin := s.pos
	s.digits()
	n, ok := number(s.text[begin:s.pos])
	s.space()
	return n, ok
}
