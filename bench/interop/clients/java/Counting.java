import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;
import org.apache.kafka.connect.source.SourceConnector;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.source.SourceTask;

/** Connectors of Kafka Connect: one counts into a topic, the other prints "saw NUMBER" for each number that it finds in one. */
public final class Counting {
    private static final String VERSION = "1";

    public static final class Source extends SourceConnector {
        private Map<String, String> config;

        @Override public void start(Map<String, String> config) { this.config = config; }
        @Override public Class<? extends Task> taskClass() { return CountTask.class; }
        @Override public List<Map<String, String>> taskConfigs(int max) { return List.of(config); }
        @Override public void stop() { }
        @Override public ConfigDef config() { return new ConfigDef().define("topic", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, ""); }
        @Override public String version() { return VERSION; }
    }

    public static final class CountTask extends SourceTask {
        private static final Map<String, ?> PARTITION = Map.of("counter", "only");
        private String topic;
        private long next;

        @Override public void start(Map<String, String> config) {
            topic = config.get("topic");
            Map<String, Object> last = context.offsetStorageReader().offset(PARTITION);
            next = last == null ? 0 : (Long) last.get("number") + 1;
        }

        @Override public List<SourceRecord> poll() throws InterruptedException {
            Thread.sleep(20);
            List<SourceRecord> records = new ArrayList<>();
            for (int i = 0; i < 10; i++, next++) {
                records.add(new SourceRecord(PARTITION, Map.of("number", next), topic, Schema.INT64_SCHEMA, next));
            }
            return records;
        }

        @Override public void stop() { }
        @Override public String version() { return VERSION; }
    }

    public static final class Sink extends SinkConnector {
        private Map<String, String> config;

        @Override public void start(Map<String, String> config) { this.config = config; }
        @Override public Class<? extends Task> taskClass() { return PrintTask.class; }
        @Override public List<Map<String, String>> taskConfigs(int max) { return List.of(config); }
        @Override public void stop() { }
        @Override public ConfigDef config() { return new ConfigDef(); }
        @Override public String version() { return VERSION; }
    }

    public static final class PrintTask extends SinkTask {
        @Override public void start(Map<String, String> config) { }
        @Override public void put(Collection<SinkRecord> records) {
            for (SinkRecord record : records) {
                System.out.println("saw " + record.value());
            }
        }
        @Override public void stop() { }
        @Override public String version() { return VERSION; }
    }
}
