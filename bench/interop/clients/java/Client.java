import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Apache Kafka's own Java clients as a client program. The contract is in clients/goclients/main.go. */
final class Client {
    private static final Duration POLL = Duration.ofMillis(200);

    public static void main(String[] args) throws Exception {
        String name = args[0];
        switch (args[1]) {
            case "version" -> version(name);
            case "produce" -> produce(name, args[2], args[3], args[4], args[5]);
            case "flow" -> flow(args[2], args[3], args[4]);
            case "consume" -> consume(args[2], args[3], args[4], args[5], Arrays.asList(args).subList(6, args.length));
            default -> throw new IllegalArgumentException(args[1]);
        }
    }

    private static void version(String name) throws IOException {
        Properties p = new Properties();
        try (var in = KafkaConsumer.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            p.load(in);
        }
        System.out.println(name + " " + p.getProperty("version") + " on Java " + System.getProperty("java.version"));
    }

    private static byte[] decode(String text) {
        return text.equals("-") ? null : Base64.getDecoder().decode(text);
    }

    private static String encode(byte[] data) {
        return data == null ? "-" : Base64.getEncoder().encodeToString(data);
    }

    private static void produce(String name, String address, String topic, String codec, String idempotent) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", address);
        p.put("compression.type", codec);
        p.put("enable.idempotence", idempotent);
        p.put("acks", "all");
        p.put("max.in.flight.requests.per.connection", idempotent.equals("true") ? "5" : "1");
        p.put("linger.ms", "20");
        List<Future<?>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
                var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII))) {
            for (String line; (line = in.readLine()) != null; ) {
                int space = line.indexOf(' ');
                var record = new ProducerRecord<>(topic, decode(line.substring(0, space)), decode(line.substring(space + 1)));
                record.headers().add("client", name.getBytes(StandardCharsets.UTF_8));
                sent.add(producer.send(record));
            }
            producer.flush();
            for (Future<?> f : sent) {
                f.get();
            }
        }
    }

    // A short patience with a broker that does not answer.
    private static void patience(Properties p) {
        if ("short".equals(System.getenv("INTEROP_PATIENCE"))) {
            p.put("request.timeout.ms", "3000");
            p.put("socket.connection.setup.timeout.ms", "1000");
            p.put("socket.connection.setup.timeout.max.ms", "1000");
        }
    }

    private static void flow(String addresses, String topic, String idempotent) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", addresses);
        p.put("enable.idempotence", idempotent);
        p.put("acks", "all");
        p.put("linger.ms", "20");
        patience(p);
        var out = new PrintStream(System.out, true, StandardCharsets.US_ASCII);
        try (var producer = new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
                var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII))) {
            for (String line; (line = in.readLine()) != null; ) {
                int space = line.indexOf(' ');
                String key = line.substring(0, space);
                producer.send(new ProducerRecord<>(topic, decode(key), decode(line.substring(space + 1))), (metadata, e) -> {
                    out.print(e == null ? "ack " + key + "\n" : "fail " + key + " " + e.toString().replace('\n', ' ') + "\n");
                    out.flush();
                });
            }
            producer.flush();
        }
    }

    private static void consume(String address, String group, String clientId, String assignor, List<String> topics) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", address);
        p.put("group.id", group);
        p.put("client.id", clientId);
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("session.timeout.ms", "6000");
        p.put("heartbeat.interval.ms", "500");
        p.put("fetch.max.wait.ms", "200");
        patience(p);
        if (assignor.equals("range")) {
            p.put("partition.assignment.strategy", RangeAssignor.class.getName());
        }
        var out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        try (var consumer = new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(topics, new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    commit(consumer);
                }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}
            });
            var waiting = new Thread(() -> leaveAtEndOfInput(consumer));
            waiting.setDaemon(true);
            waiting.start();
            while (true) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
                for (ConsumerRecord<byte[], byte[]> r : records) {
                    print(out, r);
                }
                out.flush();
                if (!records.isEmpty()) {
                    commit(consumer);
                }
            }
        } catch (WakeupException e) {
            // the end of the input; closing has left the group
        }
    }

    private static void leaveAtEndOfInput(KafkaConsumer<?, ?> consumer) {
        try {
            while (System.in.read() >= 0) {}
        } catch (IOException e) {
            // ended as well
        }
        consumer.wakeup();
    }

    /** What cannot be committed because a rebalance goes on is committed when partitions are revoked, or with the next records. */
    private static void commit(KafkaConsumer<?, ?> consumer) {
        try {
            consumer.commitSync();
        } catch (RebalanceInProgressException | CommitFailedException e) {
            System.err.println("commit: " + e);
        }
    }

    private static void print(PrintStream out, ConsumerRecord<byte[], byte[]> r) {
        var line = new StringBuilder();
        line.append(r.topic()).append(' ').append(r.partition()).append(' ').append(r.offset()).append(' ').append(r.timestamp());
        line.append(' ').append(encode(r.key())).append(' ').append(encode(r.value()));
        for (Header h : r.headers()) {
            line.append(' ').append(encode(h.key().getBytes(StandardCharsets.UTF_8))).append('=').append(encode(h.value()));
        }
        out.append(line).append('\n');
    }
}
