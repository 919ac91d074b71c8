package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed pom.xml
var pom []byte

// java is how Kafka's own tools are run.
type java struct {
	classPath string
	kafka     string // release, from pom.xml
	version   string // of the Java runtime
}

// resolveJava asks Maven for the class path of pom.xml, once a machine: the answer is kept in the user's cache folder under the
// hash of pom.xml.
func (s *suite) resolveJava(ctx context.Context) error {
	release := regexp.MustCompile(`<kafka\.version>(.*)</kafka\.version>`).FindSubmatch(pom)
	if release == nil {
		return errors.New("pom.xml names no kafka.version")
	}
	out, err := command(ctx, nil, "java", "--version")
	if err != nil {
		return fmt.Errorf("no Java 17: %w", err)
	}
	first, _, _ := strings.Cut(out, "\n")
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "tandem-interop")
	file := filepath.Join(cache, fmt.Sprintf("class-path-%x", sha256.Sum256(pom)))
	classPath, err := os.ReadFile(file)
	if err != nil || !jarsExist(string(classPath)) {
		if classPath, err = askMaven(ctx, cache, file); err != nil {
			return err
		}
	}
	s.java = &java{classPath: strings.TrimSpace(string(classPath)), kafka: string(release[1]), version: first}
	return nil
}

func jarsExist(classPath string) bool {
	for jar := range strings.SplitSeq(strings.TrimSpace(classPath), ":") {
		if _, err := os.Stat(jar); err != nil {
			return false
		}
	}
	return true
}

func askMaven(ctx context.Context, cache, file string) ([]byte, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	project, err := os.MkdirTemp("", "tandem-interop-pom-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(project)
	pomFile := filepath.Join(project, "pom.xml")
	if err := os.WriteFile(pomFile, pom, 0o644); err != nil {
		return nil, err
	}
	answer := filepath.Join(project, "class-path")
	if _, err := command(ctx, nil, "mvn", "-q", "-B", "-f", pomFile, "dependency:build-classpath", "-Dmdep.outputFile="+answer); err != nil {
		return nil, fmt.Errorf("resolve Kafka's tools with Maven: %w", err)
	}
	classPath, err := os.ReadFile(answer)
	if err != nil {
		return nil, err
	}
	return classPath, errors.Join(os.WriteFile(file+".new", classPath, 0o644), os.Rename(file+".new", file))
}

// kafkaTool runs a main class of Apache Kafka.
func (s *suite) kafkaTool(ctx context.Context, input *os.File, class string, args ...string) (string, error) {
	if s.java == nil {
		if err := s.resolveJava(ctx); err != nil {
			return "", err
		}
	}
	args = append(s.javaCommand("", class), args...)
	return command(ctx, input, args[0], args[1:]...)
}

// javaCommand is the start of the command line of a main class; dir, when there is one, comes first in the class path. The heap is
// small and the compiler quick, because these are many short programs on few cores.
func (s *suite) javaCommand(dir, class string) []string {
	return []string{"java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", strings.TrimPrefix(dir+":"+s.java.classPath, ":"), class}
}
