package controller

import "strings"

// NameMax is the longest topic name, in bytes: Kafka's, which leaves room for "-<partition>" in a file name.
const NameMax = 249

// metadataTopic is Kafka's name of the metadata Raft group, which nobody may create.
const metadataTopic = "__cluster_metadata"

// CheckName says whether a topic may have this name. Errors: a RequestError of ErrInvalidTopic, in Kafka's words. Source:
// org.apache.kafka.common.internals.Topic.validate.
func CheckName(name string) error {
	switch {
	case name == "":
		return refuse(ErrInvalidTopic, "Topic name is invalid: the empty string is not allowed")
	case name == "." || name == "..":
		return refuse(ErrInvalidTopic, "Topic name is invalid: '.' or '..' is not allowed")
	case len(name) > NameMax:
		return refuse(ErrInvalidTopic, "Topic name is invalid: the length of '%s' is longer than the max allowed length %d", shorten(name), NameMax)
	}
	for i := range len(name) {
		if !legal(name[i]) {
			return refuse(ErrInvalidTopic, "Topic name is invalid: '%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", shorten(name))
		}
	}
	return nil
}

// IsInternal says whether clients may not write to the topic: Kafka's own.
func IsInternal(name string) bool {
	switch name {
	case "__consumer_offsets", "__transaction_state", "__share_group_state":
		return true
	}
	return false
}

func legal(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// collisionForm is what two names have in common that would collide in the names of metrics; "" for a name that has neither of
// the two characters. Source: Topic.unifyCollisionChars.
func collisionForm(name string) string {
	if !strings.ContainsAny(name, "._") {
		return ""
	}
	return strings.ReplaceAll(name, ".", "_")
}

// shorten keeps what a client sent from filling logs and answers.
func shorten(name string) string {
	if len(name) > NameMax {
		return strings.ToValidUTF8(name[:NameMax], "?") + "..."
	}
	return strings.ToValidUTF8(name, "?")
}
