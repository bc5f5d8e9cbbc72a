module github.com/poolproof/poolproof/peers

go 1.26.0

require (
	github.com/alitto/pond/v2 v2.7.1
	github.com/gomodule/redigo v1.9.3
	github.com/jackc/puddle v1.3.0
	github.com/jackc/puddle/v2 v2.2.3
	github.com/jolestar/go-commons-pool v2.0.0+incompatible
	github.com/jolestar/go-commons-pool/v2 v2.1.2
	github.com/panjf2000/ants/v2 v2.12.1
	github.com/poolproof/poolproof v0.0.0
	golang.org/x/sync v0.25.0
)

require (
	github.com/anishathalye/porcupine v1.3.1 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

replace github.com/poolproof/poolproof => ..
