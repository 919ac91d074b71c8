package transcript

import (
	"errors"
	"strings"
	"testing"
)

func TestReplayWritesAnswersAnew(t *testing.T) {
	var asked []string
	got, err := replay("# a comment\nadd 1\n> wrong\n> and more\n\nnothing\n> to say\nadd 2", func(command string) ([]string, error) {
		asked = append(asked, command)
		if command == "nothing" {
			return nil, nil
		}
		return []string{"did " + command, "well"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "# a comment\nadd 1\n> did add 1\n> well\n\nnothing\nadd 2\n> did add 2\n> well\n"; got != want {
		t.Errorf("got\n%s", got)
	}
	if text := strings.Join(asked, ", "); text != "add 1, nothing, add 2" {
		t.Error(text)
	}
}

func TestReplayNamesTheCommandThatFails(t *testing.T) {
	failure := errors.New("no such command")
	if _, err := replay("jump\n", func(string) ([]string, error) { return nil, failure }); !errors.Is(err, failure) || !strings.HasPrefix(err.Error(), "jump: ") {
		t.Error(err)
	}
}
