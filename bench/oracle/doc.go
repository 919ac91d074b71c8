// Command oracle holds Tandem against Apache Kafka: it sends the same generated sequences of requests, good and bad, to both over
// raw connections and in every version that both speak, and compares the answers field by field.
//
//	go run ./bench/oracle -tandem .bin/tandem                         300 sequences (make oracle)
//	go run ./bench/oracle -tandem .bin/tandem -seed 7 -sequences 1    one again; with -v, the whole transcript
//	go run ./bench/oracle -record -sequences 320                      writes Kafka's answers to testdata/kafka.txt.gz
//
// It needs Java 17, and Maven once. With -kafka it asks an Apache Kafka that runs already, and deletes there what it has made.
//
// A sequence follows from its seed alone (generate.go), never from an answer: what a broker makes up itself, such as member ids,
// is kept in variables of its side (side.go). Answers become lines of text, one a field that is not at its default (render.go);
// what a broker makes up gets names in the order of its appearance, so that equal structure is still compared.
//
// What may differ is in one list with reasons (differences.go), from which a part of docs/compatibility.md is written. The test of this
// package replays the recorded answers against a Tandem in its own process, so that no Java is needed for that.
package main
