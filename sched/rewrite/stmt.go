package rewrite

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"reflect"
	"runtime"
	"strings"
)

// packageOf returns the path of the package that a function is in.
func packageOf(fn any) string {
	name := runtime.FuncForPC(reflect.ValueOf(fn).Pointer()).Name()
	return name[:strings.LastIndexByte(name, '.')]
}

// send rewrites c <- v.
func (w *rewriter) send(n *ast.SendStmt) {
	if w.inSelect[n] {
		return
	}
	w.replace(n.Pos(), n.End(), fmt.Sprintf("%s(%s)(%s)%s", w.lang("Send"),
		w.moved(n.Chan.Pos(), n.Chan.End()), w.moved(n.Value.Pos(), n.Value.End()), w.at(n.End())))
}

// receive rewrites <-c.
func (w *rewriter) receive(n *ast.UnaryExpr) {
	if n.Op != token.ARROW || w.inSelect[n] {
		return
	}
	name := "Receive"
	if _, two := w.info.Types[n].Type.(*types.Tuple); two {
		name = "Receive2"
	}
	w.replace(n.Pos(), n.End(), fmt.Sprintf("%s(%s)%s", w.lang(name), w.moved(n.X.Pos(), n.X.End()), w.at(n.End())))
}

// goStmt rewrites go f(x): f and x are evaluated at once, by the task that says go.
func (w *rewriter) goStmt(n *ast.GoStmt) {
	call := n.Call
	if lit, ok := ast.Unparen(call.Fun).(*ast.FuncLit); ok && len(call.Args) == 0 && lit.Type.Results == nil {
		w.replace(n.Pos(), n.End(), fmt.Sprintf("%s(%s)%s", w.lang("Go"), w.moved(lit.Pos(), lit.End()), w.at(n.End())))
		return
	}
	var names, values, args []string
	fun := w.moved(call.Fun.Pos(), call.Fun.End())
	if !w.static(call.Fun) {
		name := w.fresh("f")
		names, values = append(names, name), append(values, fun)
		fun = name
	}
	before := ""
	for _, arg := range call.Args {
		tv := w.info.Types[arg]
		text := w.moved(arg.Pos(), arg.End())
		switch tuple, several := tv.Type.(*types.Tuple); {
		case several:
			var parts []string
			for range tuple.Len() {
				parts = append(parts, w.fresh("a"))
			}
			before += fmt.Sprintf("%s := %s; ", strings.Join(parts, ", "), text)
			args = append(args, parts...)
		case tv.Value != nil || tv.IsNil() || tv.IsType():
			args = append(args, text)
		default:
			name := w.fresh("a")
			names, values, args = append(names, name), append(values, text), append(args, name)
		}
	}
	if len(names) > 0 {
		before = fmt.Sprintf("%s := %s; ", strings.Join(names, ", "), strings.Join(values, ", ")) + before
	}
	dots := ""
	if call.Ellipsis.IsValid() {
		dots = "..."
	}
	w.replace(n.Pos(), n.End(), fmt.Sprintf("{ %s%s(func() { %s(%s%s) }) }%s",
		before, w.lang("Go"), fun, strings.Join(args, ", "), dots, w.at(n.End())))
}

// static tells whether the value of a called function needs no evaluation: it is a
// declared function, a builtin or a literal.
func (w *rewriter) static(fun ast.Expr) bool {
	switch fun := ast.Unparen(fun).(type) {
	case *ast.FuncLit:
		return true
	case *ast.Ident:
		switch w.info.Uses[fun].(type) {
		case *types.Func, *types.Builtin:
			return true
		}
	case *ast.SelectorExpr:
		_, method := w.info.Selections[fun]
		_, function := w.info.Uses[fun.Sel].(*types.Func)
		return function && !method
	case *ast.IndexExpr:
		return w.static(fun.X) && w.info.Types[fun.X].IsValue()
	case *ast.IndexListExpr:
		return w.static(fun.X)
	}
	return false
}

// noteSelect keeps the operations of a select from being rewritten on their own.
func (w *rewriter) noteSelect(n *ast.SelectStmt) {
	for _, clause := range n.Body.List {
		switch comm := clause.(*ast.CommClause).Comm.(type) {
		case *ast.SendStmt:
			w.inSelect[comm] = true
		case *ast.ExprStmt:
			w.inSelect[ast.Unparen(comm.X)] = true
		case *ast.AssignStmt:
			w.inSelect[ast.Unparen(comm.Rhs[0])] = true
		}
	}
}

// selectStmt turns a select into a switch over the number of the case that was served.
// The operands are evaluated in its init statement, once and in order.
func (w *rewriter) selectStmt(n *ast.SelectStmt) {
	var names, values, branches []string
	hasDefault := false
	for _, stmt := range n.Body.List {
		clause := stmt.(*ast.CommClause)
		if clause.Comm == nil {
			hasDefault = true
			w.replace(clause.Pos(), clause.Colon+1, "default:"+w.at(clause.Colon+1))
			continue
		}
		i, name := len(names), w.fresh("c")
		value, branch, assign := w.comm(clause.Comm, name)
		names, values = append(names, name), append(values, value)
		branches = append(branches, fmt.Sprintf("case %s: return %d; ", branch, i))
		w.replace(clause.Pos(), clause.Colon+1, fmt.Sprintf("case %d: %s%s", i, assign, w.at(clause.Colon+1)))
	}
	if hasDefault {
		branches = append(branches, fmt.Sprintf("default: return %s; ", w.lang("Default")))
	} else {
		// Without it a switch is no terminating statement, as a select is.
		w.replace(n.Body.Rbrace, n.Body.Rbrace+1, `default: panic("select: no case"); }`+w.at(n.End()))
	}
	init := ""
	if len(names) > 0 {
		init = fmt.Sprintf("%s := %s; ", strings.Join(names, ", "), strings.Join(values, ", "))
	}
	kill := w.fresh("k")
	block := fmt.Sprintf("func(%s <-chan struct{}) int { select { case <-%s: return %s; %s} }",
		kill, kill, w.lang("Killed"), strings.Join(branches, ""))
	arguments := append([]string{fmt.Sprint(hasDefault), block}, names...)
	w.replace(n.Pos(), n.Body.Lbrace+1, fmt.Sprintf("switch %s%s(%s) {%s",
		init, w.lang("Select"), strings.Join(arguments, ", "), w.at(n.Body.Lbrace+1)))
}

// comm returns, for the operation of a case: the value that stands for the case, the
// operation on that value, and what assigns the results.
func (w *rewriter) comm(comm ast.Stmt, name string) (value, operation, assign string) {
	if send, ok := comm.(*ast.SendStmt); ok {
		value = fmt.Sprintf("%s(%s)(%s)", w.lang("OnSend"),
			w.moved(send.Chan.Pos(), send.Chan.End()), w.moved(send.Value.Pos(), send.Value.End()))
		return value, fmt.Sprintf("%s.C <- %s.V", name, name), ""
	}
	var receive ast.Expr
	switch comm := comm.(type) {
	case *ast.ExprStmt:
		receive = comm.X
	case *ast.AssignStmt:
		receive = comm.Rhs[0]
		var lhs []string
		for _, l := range comm.Lhs {
			lhs = append(lhs, w.moved(l.Pos(), l.End()))
		}
		rhs := []string{name + ".V", name + ".OK"}[:len(lhs)]
		assign = fmt.Sprintf("%s %s %s; ", strings.Join(lhs, ", "), comm.Tok, strings.Join(rhs, ", "))
	}
	c := ast.Unparen(receive).(*ast.UnaryExpr).X
	value = fmt.Sprintf("%s(%s)", w.lang("OnReceive"), w.moved(c.Pos(), c.End()))
	return value, fmt.Sprintf("%s.V, %s.OK = <-%s.C", name, name, name), assign
}

// rangeStmt rewrites a range over a channel or a map.
func (w *rewriter) rangeStmt(n *ast.RangeStmt) {
	var begin string
	var fields []string
	switch core(w.info.Types[n.X].Type).(type) {
	case *types.Chan:
		begin, fields = "OverChannel", []string{"V"}
	case *types.Map:
		begin, fields = "OverMap", []string{"K", "V"}
	default:
		return
	}
	name := w.fresh("r")
	var lhs, rhs []string
	for i, l := range []ast.Expr{n.Key, n.Value} {
		if l != nil {
			lhs, rhs = append(lhs, w.moved(l.Pos(), l.End())), append(rhs, name+"."+fields[i])
		}
	}
	assign := ""
	if len(lhs) > 0 {
		assign = fmt.Sprintf("%s %s %s; ", strings.Join(lhs, ", "), n.Tok, strings.Join(rhs, ", "))
	}
	w.replace(n.Pos(), n.Body.Lbrace+1, fmt.Sprintf("for %s := %s(%s); %s.Next(); { %s%s",
		name, w.lang(begin), w.moved(n.X.Pos(), n.X.End()), name, assign, w.at(n.Body.Lbrace+1)))
}

// element notes the key of a map's element that is assigned to, if keys have no order.
func (w *rewriter) element(lhs ast.Expr) {
	index, ok := ast.Unparen(lhs).(*ast.IndexExpr)
	if !ok {
		return
	}
	m, ok := core(w.info.Types[index.X].Type).(*types.Map)
	if !ok || ordered(m.Key(), 0) {
		return
	}
	if tv := w.info.Types[index.Index]; tv.Value != nil || tv.IsNil() {
		return
	}
	w.replace(index.Index.Pos(), index.Index.End(), fmt.Sprintf("%s(%s)%s", w.lang("Key"),
		w.moved(index.Index.Pos(), index.Index.End()), w.at(index.Index.End())))
}

// ordered tells whether values of the type have an order by themselves.
func ordered(t types.Type, depth int) bool {
	const deep = 6
	switch t := t.Underlying().(type) {
	case *types.Basic:
		return t.Kind() != types.UnsafePointer
	case *types.Array:
		return depth < deep && ordered(t.Elem(), depth+1)
	case *types.Struct:
		for field := range t.Fields() {
			if depth >= deep || !ordered(field.Type(), depth+1) {
				return false
			}
		}
		return true
	}
	return false
}
