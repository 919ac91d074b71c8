import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Prints requests as Apache Kafka itself encodes them, two of every broker API and version: "key version hex" a line.
 * kafka_requests.txt is its output with kafka-clients 4.3.1. To run it again, with that jar and slf4j-api in CLASSPATH:
 * java KafkaRequests.java > kafka_requests.txt
 */
public class KafkaRequests {
    static final Random random = new Random(1);

    public static void main(String[] args) throws Exception {
        for (ApiKeys key : ApiKeys.brokerApis()) {
            ApiMessageType type = key.messageType;
            for (short v = type.lowestSupportedVersion(); v <= type.highestSupportedVersion(false); v++) {
                for (int i = 0; i < 2; i++) {
                    ApiMessage message = type.newRequest();
                    fill(message, v);
                    System.out.println(key.id + " " + v + " " + hex(message, v));
                }
            }
        }
    }

    static String hex(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        StringBuilder text = new StringBuilder();
        for (byte b : buffer.array()) text.append(String.format("%02x", b));
        return text.toString();
    }

    /** Sets the fields that a version has; others must keep their defaults, or Kafka refuses to write them. */
    static void fill(Object message, short version) throws Exception {
        Schema schema = ((Schema[]) message.getClass().getField("SCHEMAS").get(null))[version];
        Set<String> names = new HashSet<>();
        for (BoundField f : schema.fields()) {
            if (!(f.def.type instanceof TaggedFields)) names.add(setter(f.def.name));
            else
                ((TaggedFields) f.def.type).fields().values().forEach(tagged -> names.add(setter(tagged.name)));
        }
        for (Method setter : message.getClass().getMethods()) {
            if (setter.getParameterCount() != 1 || setter.getReturnType() != message.getClass() || !names.contains(setter.getName()))
                continue;
            Object value = value(setter.getGenericParameterTypes()[0], version);
            if (value != null) setter.invoke(message, value);
        }
    }

    static String setter(String snake) {
        StringBuilder name = new StringBuilder("set");
        for (String word : snake.split("_")) name.append(word.substring(0, 1).toUpperCase()).append(word.substring(1));
        return name.toString();
    }

    static Object value(Type type, short version) throws Exception {
        if (type == boolean.class) return random.nextBoolean();
        if (type == byte.class || type == Byte.class) return (byte) random.nextInt();
        if (type == short.class || type == Short.class) return (short) random.nextInt();
        if (type == int.class || type == Integer.class) return random.nextInt(65536); // ports among them
        if (type == long.class || type == Long.class) return random.nextLong();
        if (type == double.class) return random.nextDouble();
        if (type == String.class) return "kafka-string-of-some-length".substring(0, 1 + random.nextInt(26));
        if (type == Uuid.class) return new Uuid(random.nextLong(), random.nextLong());
        if (type == byte[].class) return new byte[random.nextInt(20)];
        if (type == ByteBuffer.class) return ByteBuffer.allocate(random.nextInt(20));
        if (type instanceof ParameterizedType) return list((ParameterizedType) type, version);
        Class<?> c = (Class<?>) type;
        if (c.getName().endsWith("BaseRecords")) return MemoryRecords.readableRecords(ByteBuffer.allocate(random.nextInt(100)));
        if (Collection.class.isAssignableFrom(c)) return collection(c, version);
        Object struct = c.getConstructor().newInstance();
        fill(struct, version);
        return struct;
    }

    static Object list(ParameterizedType type, short version) throws Exception {
        List<Object> list = new ArrayList<>();
        for (int n = random.nextInt(4); n > 0; n--) list.add(value(type.getActualTypeArguments()[0], version));
        return list;
    }

    @SuppressWarnings("unchecked")
    static Object collection(Class<?> c, short version) throws Exception {
        Type element = ((ParameterizedType) c.getGenericSuperclass()).getActualTypeArguments()[0];
        Collection<Object> list = (Collection<Object>) c.getConstructor().newInstance();
        for (int n = random.nextInt(4); n > 0; n--) list.add(value(element, version));
        return list;
    }
}
